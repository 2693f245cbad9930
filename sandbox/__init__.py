"""WeChat in a box: a stand-alone local WeChat platform for one service account.

It imports nothing of the other packages and nothing of theirs imports it: the two meet over HTTP only,
exactly as they meet the real platform.
"""
