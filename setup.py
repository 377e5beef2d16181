"""Metadata of the distribution `openwit`; also what Beam ships to its workers."""

import pathlib
import runpy

import setuptools

ROOT = pathlib.Path(__file__).parent
PACKAGES = ["filters", "manifests", "pipeline", "trainer"]
VERSION = runpy.run_path(str(ROOT / "manifests" / "base" / "version.py"))["__version__"]

# Base install: what Beam workers need, and the manifest CLI. `build` and `setuptools` are here
# because Beam builds the source distribution for its workers without build isolation.
REQUIRES = [
    "ada-url>=1.29",
    "ahocorasick-rs>=1.0",
    "apache-beam>=2.77,<3",
    "brotli>=1.2",
    "build>=1.2",
    "certifi>=2024.8.30",
    "duckdb>=1.1",
    "fsspec>=2024.6",
    "imagehash>=4.3.2",
    "isal>=1.7",
    "jinja2>=3.1",
    "msgspec>=0.19",
    "mwparserfromhell>=0.6.6",
    "numpy>=1.26,<2.5",
    "pillow>=11,<13",
    "pyarrow>=18,<26",
    "pycurl>=7.45.3",
    "requests>=2.32",
    "rich>=13",
    "setuptools>=70",
    "tldextract>=5.1",
    "turbohtml>=1.15",
    "typer>=0.15",
    "warcio>=1.7.5",
    "zstandard>=0.22",
]
EXTRAS = {
    "bench": [
        "faiss-cpu>=1.10",
        "fastwarc>=1.0",
        "imagededup>=0.3.3",
        "imagehash>=4.3.2",
        "pandas>=2.2",
        "pdqhash>=0.2.7",
        "pyahocorasick>=2.1",
        "pysimdjson>=7",
        "selectolax>=0.3.21",
        "webdataset==0.2.86",
    ],
    # Its versions need Python below 3.13; newer ones may say other things of failures.
    "img2dataset": ["img2dataset>=1.47,<1.48; python_version < '3.13'"],
    "lang": ["py3langid>=0.4,<0.5"],
    "s3": ["s3fs>=2024.6"],
    "train": [
        "open_clip_torch>=3.3,<4",
        "safetensors>=0.4",
        "tensorboard>=2.17",
        "torch>=2.6",
        "torchvision>=0.21",
    ],
    "dev": [
        "cryptography>=42",
        "hypothesis>=6.100",
        "import-linter>=2.1",
        "mypy>=1.13",
        "pre-commit>=4",
        "py3langid>=0.4,<0.5",
        "pytest>=8.3",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "robotspy>=0.13",
        "ruff>=0.8",
        "scipy>=1.13",
        "selectolax>=0.3.21",
        "types-requests",
        "webdataset==0.2.86",
    ],
}

setuptools.setup(
    name="openwit",
    version=VERSION,
    description="Web archives to a CLIP-style image-text dataset with Apache Beam, and a trainer",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(
        include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]
    ),
    package_data={
        **{package: ["py.typed"] for package in PACKAGES},
        "filters.data": ["*"],
        "manifests.report": ["page.*", "bundled/*.js"],
        "trainer.configs": ["*.json"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "openwit-pipeline = pipeline.cli:main",
            "openwit-manifest = manifests.cli:main",
            "openwit-train = trainer.cli:main",
        ]
    },
)
