"""What the platform replaces, built as it was built then: FastAPI on uvicorn with uvloop and httptools.

`services` has a middleware each for what our base does around a method; `expert` is what somebody makes of FastAPI who
knows where its time goes.
"""
