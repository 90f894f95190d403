# Writes the packages of three registries, as they are served: packages.py FOLDER URL
import hashlib
import io
import json
import os
import sys
import tarfile
import zipfile

folder, url = sys.argv[1:]


def put(path, content):
    file = os.path.join(folder, path)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as out:
        out.write(content if isinstance(content, bytes) else content.encode())


def zipped(files):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return held.getvalue()


wheel = "tiny-1.0-py3-none-any.whl"
files = {
    "tiny.py": "said = 'tiny'\n",
    "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
record = "".join(f"{name},,\n" for name in [*files, "tiny-1.0.dist-info/RECORD"])
put(f"pypi/{wheel}", zipped({**files, "tiny-1.0.dist-info/RECORD": record}))
for name in ["tiny", "hidden"]:
    link = f"{name}-1.0-py3-none-any.whl"
    put(f"pypi/simple/{name}/index.html", f'<!DOCTYPE html><a href="{url}/pypi/{link}">{link}</a>')

manifest = {"name": "tiny", "version": "1.0.0", "main": "index.js"}
held = io.BytesIO()
with tarfile.open(fileobj=held, mode="w:gz") as archive:
    for name, text in {"package.json": json.dumps(manifest), "index.js": "module.exports = 'tiny'\n"}.items():
        info = tarfile.TarInfo(f"package/{name}")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
put("npm/tarballs/tiny-1.0.0.tgz", held.getvalue())
dist = {"tarball": f"{url}/npm/tarballs/tiny-1.0.0.tgz", "shasum": hashlib.sha1(held.getvalue()).hexdigest()}
versions = {"1.0.0": {**manifest, "dist": dist}}
put("npm/tiny", json.dumps({"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": versions}))

module = "module example.test/tiny\n"
version = {"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}
versioned = "example.test/tiny@v1.0.0"
put("go/example.test/tiny/@v/list", "v1.0.0\n")
put("go/example.test/tiny/@v/v1.0.0.info", json.dumps(version))
put("go/example.test/tiny/@v/v1.0.0.mod", module)
put("go/example.test/tiny/@v/v1.0.0.zip", zipped({f"{versioned}/go.mod": module, f"{versioned}/a.go": "package tiny\n"}))
