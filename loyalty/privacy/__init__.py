"""The rights of members: requests with deadlines, exports, erasures with certificates."""
