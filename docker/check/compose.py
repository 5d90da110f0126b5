"""Puts the compose files together as Compose does, and looks at what no schema can know.

    compose.py FILE...      prints the whole as JSON; ends with 1 and a list of what is wrong

Every image has a whole version (`8.4.6`, and not a tag that moves, as `8.4` does), every service says how its health is told or why
not, everything that is mounted or depended on is there.
"""

import json
import pathlib
import re
import sys

from ruamel.yaml import YAML

# Servers of others whose images bring a check of their own, or none that matters to the demo.
WITHOUT_HEALTH = {"writer": "a client that ends never"}


class Reset:
    """`!reset`: takes a key of an earlier file away."""


def read(path):
    yaml = YAML(typ="safe")
    yaml.constructor.add_constructor("!reset", lambda loader, node: Reset())
    return yaml.load(pathlib.Path(path).read_text())


def merge(below, above):
    """Maps are joined key by key; everything else is replaced, as Compose does for the keys that our files share."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    whole = dict(below)
    for key, value in above.items():
        if isinstance(value, Reset):
            whole.pop(key, None)
        else:
            whole[key] = merge(whole[key], value) if key in whole else value
    return whole


def problems(whole, folder):
    services = whole["services"]
    for name, service in services.items():
        image = service.get("image")
        if not image and not service.get("build"):
            yield f"{name} has neither an image nor a build"
        if image and not re.search(r":v?\d+\.\d+\.\d+$", image):
            yield f"{name}: {image} has no version that stays"
        build = service.get("build")
        if build and not (folder / build["context"] / build["dockerfile"]).is_file():
            yield f"{name}: no Dockerfile {build['dockerfile']}"
        if "healthcheck" not in service and not build and name not in WITHOUT_HEALTH:
            yield f"{name} has no health check"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                if not (folder / source).exists():
                    yield f"{name}: {source} is not there"
            elif source not in whole.get("volumes", {}):
                yield f"{name}: volume {source} is not declared"
        for other, how in service.get("depends_on", {}).items():
            if other not in services:
                yield f"{name} depends on {other}, which is no service"
            elif how.get("condition") == "service_healthy" and "healthcheck" not in services[other]:
                if not services[other].get("build"):
                    yield f"{name} waits for the health of {other}, which has no check"
        for secret in service.get("secrets", []):
            if secret not in whole.get("secrets", {}):
                yield f"{name}: secret {secret} is not declared"
    for name, secret in whole.get("secrets", {}).items():
        if not (folder / secret["file"]).is_file():
            yield f"secret {name}: {secret['file']} is not there"


def main(files):
    whole = {}
    for file in files:
        whole = merge(whole, read(file))
    print(json.dumps(whole, indent=1))
    wrong = list(problems(whole, pathlib.Path(files[0]).parent))
    for problem in wrong:
        print(f"{files[-1]}: {problem}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
