"""The documentation page of a service: Swagger UI from a package's files, since a bank's machine reaches no CDN."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#ui", deepLinking: true, tryItOutEnabled: true, displayRequestDuration: true,
  validatorUrl: null, docExpansion: "list", defaultModelsExpandDepth: 0,
});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def install_docs(app: FastAPI, base: str) -> None:
    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.format(title=app.title), headers={"Content-Security-Policy": POLICY})

    async def start(_: Request) -> Response:
        return Response(START, media_type="text/javascript")

    app.add_route(f"{base}/docs", page, include_in_schema=False)
    app.add_route(f"{base}/docs/start.js", start, include_in_schema=False)
    assets = Path(str(files("fastapi_standalone_docs"))) / "static" / "swagger"
    app.mount(f"{base}/docs/assets", StaticFiles(directory=assets), name="docs_assets")
