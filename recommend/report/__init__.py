"""Reports on models: said once as plain values, shown as a page and on a terminal."""
