"""What the built-in plug-ins have in common.

`*_client` modules import a vendor's library, which takes up to seconds:
they are imported by the first call, never by a plug-in's own module.
"""
