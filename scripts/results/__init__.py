"""From run folders and logs to tables, figures and a page."""
