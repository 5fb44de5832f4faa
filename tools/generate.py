"""Write everything that is generated from the declarations in protocol/ and server/config/: after any change there.

python tools/generate.py            write
python tools/generate.py --check    exit 1 and name the files that are stale
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tilewire.protocol import generate
from tilewire.protocol.vectors import vector_files
from tilewire.protocol.vectors_encoded import encoded_vector_files
from tilewire.server.config.tables import fill_page

ROOT = Path(__file__).resolve().parent.parent


def outputs() -> dict[Path, str]:
    """Every generated file with the text it should have."""
    spec = ROOT / "protocol" / "SPEC.md"
    settings = ROOT / "docs" / "serve-config.md"
    texts: dict[Path, Callable[[], str]] = {
        ROOT / "clients/threadx/include/tilewire/tw_wire.h": generate.c_header,
        ROOT / "clients/threadx/src/tw_codec_start.c": generate.c_codec_start,
        ROOT / "clients/threadx/src/tw_jpeg_tables.c": generate.c_jpeg_tables,
        ROOT / "clients/micropython/tilewire/wire.py": generate.micropython_module,
        ROOT / "server/viewer/wire.js": generate.javascript_module,
        spec: lambda: generate.fill_sections(spec.read_text()),
        settings: lambda: fill_page(settings.read_text()),
    }
    made = {path: text() for path, text in texts.items()}
    vectors = vector_files() | encoded_vector_files()
    made |= {ROOT / "protocol/vectors" / name: text for name, text in vectors.items()}
    return made


def stale() -> list[Path]:
    """The generated files that do not say what the declarations say."""
    return [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    arguments = parser.parse_args()
    made = outputs()
    for path in stale():
        print(("stale: " if arguments.check else "written: ") + str(path.relative_to(ROOT)))
        if arguments.check:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path])
    return 1 if arguments.check and stale() else 0


if __name__ == "__main__":
    sys.exit(main())
