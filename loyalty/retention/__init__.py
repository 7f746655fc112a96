"""How long each category of data is kept: rules as data, and the job that applies them."""
