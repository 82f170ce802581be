"""Event time: how far each input has come, when a watermark may move, and which offsets are not applied yet.

Only `model` lies below.
"""
