"""Coupons: campaigns, codes signed in bulk, one use of each across all channels."""
