"""What is personal, sealed under a key for each owner; and the list of whose keys are gone."""
