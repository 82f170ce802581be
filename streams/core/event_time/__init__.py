"""Event time: progress of each input, the watermark, and the offsets that are not applied yet.

Only `model` lies below.
"""
