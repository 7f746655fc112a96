"""What the shop sells and where: products and stores."""
