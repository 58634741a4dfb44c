"""The report: a run as one HTML file that opens from disk and needs no network.

`viewer.py` holds what the time-travel viewer reads, `pictures.py` images and figures in the page,
`tables.py` its tables, `page.py` puts it together; `assets` are its style and its script.
"""
