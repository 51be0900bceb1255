"""From frames to published files: encoding, metadata, posters, beside the next render.

Does not know where frames come from.
"""
