"""What people see who have only the results: STATUS.txt and a gallery of all videos.

A thread of its own writes, so that nothing else waits for a slow disk. Nothing depends on it.

`page` is the thread; `status_file` writes STATUS.txt when that is due, `status_text` has its words,
`now` is the same as data for the page; `failures` reads what is in `_failed/`; `gallery` has the
data of its videos, `ratings` what people think of them, `scripts` makes scripts of data; `site`
writes the page itself, whose files are in `web/`.
"""
