"""A paper's experiments run again, its figures beside ours; `scalingar reproduce`."""
