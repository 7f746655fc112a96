"""What members did on products, as their devices and the shop report it: only with consent."""
