"""Thin, typed clients of the services' HTTP interfaces."""
