"""`/`: what this is, for a person with a browser and for a program."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from api.routers.health import SERVICE
from config import VERSION

router = APIRouter(include_in_schema=False)

# Relative, so that they also work behind a proxy with a prefix.
_LINKS = {
    "console": "console/",
    "documentation": "docs",
    "reference": "redoc",
    "health": "health",
    "readiness": "health/ready",
}
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Metasync</title>
<style>
body {{ font: 1rem/1.5 sans-serif; margin: 3rem auto; max-width: 36rem;
  padding: 0 1rem; color: #222; background: #fff; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #ddd; background: #181818; }} a {{ color: #8ab4f8; }} }}
</style>
</head>
<body>
<h1>Metasync</h1>
<p>A job queue, worker pool and prompt optimizer for LLM work. Version
{VERSION}.</p>
<ul>
<li><a href="console/">Console</a>: see what runs, waits, fails and costs. Sign
in with the admin key or a client's token.</li>
<li><a href="docs">Try the interface</a> and
<a href="redoc">read about it</a>; both ask for the documentation's user and
password (<code>DOCS_USER</code>, <code>DOCS_SECRET</code>).</li>
<li><a href="health">Health</a>, and whether the service
<a href="health/ready">can work</a>.</li>
</ul>
</body>
</html>
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept",
}


@router.get("/")
async def home(request: Request) -> Response:
    """Answer a browser with a page, and a program with JSON."""
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_PAGE, headers=_HEADERS)
    body = {"service": SERVICE, "version": VERSION, "links": _LINKS}
    return JSONResponse(body, headers=_HEADERS)
