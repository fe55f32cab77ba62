"""How the explorer bears 32 people at once, and how soon it answers the pointer: docs/results/explore.json, docs/explore.md.

    python -m benchmarks.explore_load load      # 32 clients for 60 s on loopback: latencies, answers, peak memory of the server
    python -m benchmarks.explore_load pointer   # a browser, 8 nets, 100 moves: from the event to the last map drawn
    python -m benchmarks.explore_load page      # write the tables into docs/explore.md

A client does what the page does: it opens the page, sends a picture of its own or takes an example, asks for maps and predictions
of eight nets over six connections, waits a second, goes on to another layer, and after some layers to another picture. Busy answers
(503) are asked again after the time they name, as the page does; they are counted.
"""

import argparse
import asyncio
import io
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from statistics import quantiles

import httpx
import numpy as np
from PIL import Image

from sightline.runs import atomic_write, environment

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "explore.json"
PAGE = ROOT / "docs" / "explore.md"
CLIENTS, SECONDS, AT_ONCE, CONNECTIONS, MOVES = 32, 60.0, 8, 6, 100
LAYERS_A_PICTURE, THINK_SECONDS = 4, 1.0


class Server:
    """`sightline explore` in a process of its own; or one that runs already, ADDRESS,PID."""

    def __init__(self, arguments: list[str], running: str | None) -> None:
        self.process = None
        if running is not None:
            self.address, pid = running.rsplit(",", 1)
            self.pid = int(pid)
            return
        command = [
            sys.executable,
            "-c",
            "from sightline.cli import main; main()",
            "explore",
            "--port",
            "0",
            "--no-browser",
        ]
        self.process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
        self.pid, self.address = self.process.pid, ""
        while not self.address:
            line = self.process.stdout.readline() if self.process.stdout else ""
            if not line:
                raise RuntimeError("the server did not start")
            found = re.search(r"http://\S+", line)
            self.address = found.group() if found else ""

    def memory(self, which: str) -> int:
        """Bytes of VmRSS (now) or VmHWM (the most so far)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(re.search(rf"{which}:\s+(\d+) kB", status)[1])  # type: ignore[index]

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


def picture(seed: int) -> bytes:
    """A JPEG of smooth noise, 480 to 1,600 pixels wide."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    width = int(draw.integers(480, 1600))
    buffer = io.BytesIO()
    small.resize((width, 3 * width // 4), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Visitor:
    """One person at the page; notes how long every answer took."""

    def __init__(self, address: str, number: int, notes: dict[str, list[float]], counts: Counter[str]) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS)
        self.http = httpx.AsyncClient(base_url=address, limits=limits, timeout=60, trust_env=False)
        self.random, self.number, self.notes, self.counts = random.Random(number), number, notes, counts

    async def ask(self, kind: str, method: str, path: str, **given) -> httpx.Response:
        """Ask until the answer is another than "busy"; the time is that of all tries."""
        started = time.perf_counter()
        while True:
            answer = await self.http.request(method, path, **given)
            self.counts[str(answer.status_code)] += 1
            if answer.status_code != 503:
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)) * (0.5 + self.random.random()))
        self.notes[kind].append(time.perf_counter() - started)
        return answer

    async def stay(self) -> None:
        await self.ask("page", "GET", "/")
        told = (await self.ask("start", "GET", "/api/start")).json()
        visit = 0
        while True:
            visit += 1
            await self.look_at_one(told, visit)

    async def look_at_one(self, told: dict, visit: int) -> None:
        name = self.random.choice(told["pictures"])["name"]
        if visit % 2:
            sent = picture(1000 * self.number + visit)
            taken = await self.ask(
                "upload", "POST", "/api/pictures", content=sent, headers={"content-type": "image/jpeg"}
            )
            name = taken.json()["name"]
        await self.ask("picture", "GET", f"/api/pictures/{name}")
        nets = self.random.sample(told["nets"], min(AT_ONCE, len(told["nets"])))
        for _ in range(LAYERS_A_PICTURE):
            await asyncio.gather(*(self.one_net(name, net) for net in nets))
            await asyncio.sleep(THINK_SECONDS)

    async def one_net(self, name: str, net: dict) -> None:
        asked = {"picture": name, "net": net["name"]}
        await self.ask("predictions", "GET", "/api/predictions", params=asked)
        if net["layers"]:
            layer = self.random.randrange(len(net["layers"]))
            await self.ask("maps", "GET", "/api/maps", params=asked | {"layer": layer})


def load(server: Server) -> dict:
    """32 visitors for a minute."""
    try:
        before = server.memory("VmRSS")
        with httpx.Client(base_url=server.address, trust_env=False) as client:
            client.get("/")  # opens a session
            shown = len(client.get("/api/start").json()["nets"])
        notes: dict[str, list[float]] = defaultdict(list)
        counts: Counter[str] = Counter()
        began = time.monotonic()

        async def everybody() -> None:
            visitors = [Visitor(server.address, number, notes, counts) for number in range(CLIENTS)]
            with suppress(TimeoutError):  # what is on its way at the end does not count
                async with asyncio.timeout(SECONDS):
                    await asyncio.gather(*(one.stay() for one in visitors))

        asyncio.run(everybody())
        return {
            "clients": CLIENTS,
            "seconds": round(time.monotonic() - began, 1),
            "nets": min(AT_ONCE, shown),
            "answers": dict(sorted(counts.items())),
            "memory_before": before,
            "memory_peak": server.memory("VmHWM"),
            "milliseconds": {kind: spread([1000 * one for one in taken]) for kind, taken in notes.items()},
        }
    finally:
        server.close()


def pointer(server: Server) -> dict:
    """Moves of a pointer over the picture, in a headless browser."""
    from playwright.sync_api import sync_playwright

    from tests.report.browser import BROWSER

    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(server.address)
            page.wait_for_selector("#explorer[aria-busy=false]")
            others = page.locator("input[name=net]:enabled:not(:checked)")
            while others.count():  # the page takes eight and switches the others off
                others.first.click()
                page.wait_for_timeout(300)
            page.wait_for_timeout(3000)
            box = page.locator("#query canvas").bounding_box()
            taken = []
            for move in range(MOVES):
                across, down = (move * 37 % MOVES + 0.5) / MOVES, (move * 53 % MOVES + 0.5) / MOVES
                page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
                page.wait_for_timeout(30)
                taken.append(float(page.evaluate("document.getElementById('latency').dataset.last")))
            nets = page.evaluate("document.querySelectorAll('.tile').length")
            version = browser.version
            browser.close()
        return {"moves": MOVES, "nets": nets, "browser": f"Chromium {version}", "milliseconds": spread(taken)}
    finally:
        server.close()


def spread(values: list[float]) -> dict[str, float]:
    """How many, and percentiles."""
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    named = {"p50": cuts[49], "p90": cuts[89], "p95": cuts[94], "p99": cuts[98], "most": max(values)}
    return {"n": len(values)} | {name: round(value, 1) for name, value in named.items()}


def tables(results: dict) -> str:
    """The block of docs/explore.md."""
    lines = []
    if "pointer" in results:
        one = results["pointer"]
        took = one["milliseconds"]
        lines += [
            f"**A move of the pointer**, {one['nets']} nets shown, {one['moves']} moves, from the event to the last map drawn: "
            f"median {took['p50']} ms, 95% within {took['p95']} ms, the slowest {took['most']} ms. {one['browser']}, headless. "
            f"{made(one)}",
            "",
        ]
    if "load" in results:
        one = results["load"]
        answers = ", ".join(f"{count:,} x {status}" for status, count in one["answers"].items())
        lines += [
            f"**{one['clients']} visitors for {one['seconds']:.0f} s**, {one['nets']} nets each, all on one machine. "
            f"Answers by status: {answers}. Memory of the server: {one['memory_before'] / 2**20:.0f} MiB before, "
            f"{one['memory_peak'] / 2**20:.0f} MiB at the most. {made(one)}",
            "",
            "| asked | answers | median | 90% | 95% | 99% | slowest |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for kind, took in one["milliseconds"].items():
            cells = " | ".join(f"{took[name]:,.0f} ms" for name in ("p50", "p90", "p95", "p99", "most"))
            lines.append(f"| {kind} | {took['n']:,} | {cells} |")
    return "\n".join(lines).strip()


def made(one: dict) -> str:
    where = one["environment"]
    machine = f"{where['cpu']}, {where['cores']} cores, torch {where['torch']}"
    return f"{machine}, load average of the last 5 minutes {where['load_average']}, commit {where['commit']}."


def write_page() -> None:
    """Put the tables between the marks of docs/explore.md."""
    text = PAGE.read_text()
    block = f"<!-- measured -->\n{tables(json.loads(RESULTS.read_text()))}\n<!-- /measured -->"
    PAGE.write_text(re.sub(r"<!-- measured -->.*?<!-- /measured -->", lambda _: block, text, flags=re.S))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["load", "pointer", "page"])
    parser.add_argument(
        "--run", action="append", default=[], help="as for sightline explore; with neither, its trained nets"
    )
    parser.add_argument("--model", action="append", default=[], help="likewise")
    parser.add_argument("--running", metavar="ADDRESS,PID", help="measure a server that runs already")
    given = parser.parse_args()
    if given.what != "page":
        chosen = {"run": given.run, "model": given.model}
        arguments = [word for name, values in chosen.items() for one in values for word in (f"--{name}", one)]
        found = {"load": load, "pointer": pointer}[given.what](Server(arguments, given.running))
        found["environment"] = environment() | {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[1], 1)}
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"schema": 1}
        atomic_write(RESULTS, json.dumps(results | {given.what: found}, indent=1) + "\n")
        print(json.dumps(found, indent=1))
    if PAGE.exists() and RESULTS.exists():
        write_page()


if __name__ == "__main__":
    main()
