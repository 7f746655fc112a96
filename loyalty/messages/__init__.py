"""What the shop's e-mail tool is to send on Carnet's behalf: confirmations, codes, warnings."""
