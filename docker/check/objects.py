"""objects.py FILE: the YAML documents of a file as one JSON list, for programs that read no YAML."""

import json
import pathlib
import sys

from ruamel.yaml import YAML

print(json.dumps(list(YAML(typ="safe").load_all(pathlib.Path(sys.argv[1]).read_text()))))
