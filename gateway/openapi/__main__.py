"""`python -m gateway.openapi`: print the document; with --write, write every generated file under docs/ and deploy/."""

import argparse
import json

from gateway.openapi import openapi
from gateway.openapi.pages import ROOT, generated


def main() -> None:
    """Do what was asked; say which files changed."""
    parser = argparse.ArgumentParser(prog="python -m gateway.openapi", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the generated files under docs/ and deploy/ instead")
    if not parser.parse_args().write:
        print(json.dumps(openapi(), indent=2, ensure_ascii=False))
        return
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
