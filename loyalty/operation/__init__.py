"""What operators call: health, metrics, the API's own documentation."""
