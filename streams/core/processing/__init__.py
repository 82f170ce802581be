"""Application of one record when it is its turn, and of one deadline once the watermark has reached it.

`processor` connects the rules of a customer (`streams.core.lifecycle`) with the stored profiles
(`streams.core.store`). `engine` and `identity` import this package.
"""
