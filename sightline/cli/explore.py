"""`sightline explore`: a page on this machine that shows where nets look."""

from typing import Annotated

import typer

from sightline.cli.app import app


@app.command(
    epilog="Examples: `sightline explore` · `sightline explore --run runs/demo --pictures holiday/` · "
    "`sightline explore --model vit_mini --model sasa_resnet_mini --port 0 --no-browser`"
)
def explore(
    run: Annotated[
        list[str] | None, typer.Option("--run", help="Run folder, or a folder of runs; may be given again.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Net by name, with the weights that come with sightline; may be given again."),
    ] = None,
    pictures: Annotated[
        list[str] | None, typer.Option(help="Picture, or a folder of them, to offer; may be given again.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond this machine the printed link holds a key.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0: any free one. 8000 if free, when not given.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Further host name to answer to, as behind a proxy; may be given again.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Serve a page where you point at a pixel and see where every net looks from there, layer by layer and head by head.

    With neither runs nor models: the trained nets that come with sightline. Nothing leaves this machine, nothing is kept.
    """
    from importlib.util import find_spec

    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise ValueError("the explorer needs two more packages: pip install 'sightline[web]'")
    from sightline.web import serve

    serve(run or (), model or (), pictures or (), host, port, allow_host or (), browser, say=typer.echo)
