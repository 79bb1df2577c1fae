"""What needs a compiler: the CPU flow engine, and the last step of the feed on the CPU. All else is in setup.cfg.

With no C++ compiler the package installs all the same; `preprocess.flow` says that it falls back to OpenCV, and
`pipelines` that it takes more time.
"""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("preprocess/flow/csrc")

setup(
    ext_modules=[
        Extension(
            "preprocess.flow._tvl1_cpu",  # a plain shared library, opened through ctypes
            sources=sorted(map(str, SOURCES.glob("*.cpp"))),
            depends=sorted(map(str, SOURCES.glob("*.h"))),
            language="c++",
            # No -march: each instruction set has its own file and is chosen at run time. No -ffast-math either, only
            # these of its liberties: with no contraction but what the source says, and no reordering, instruction sets
            # give the same bits.
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                "-fvisibility=hidden",
                "-ffp-contract=off",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-ffinite-math-only",
                "-fno-signed-zeros",
                "-fno-wrapv",  # Python asks for it; it costs 6% with AVX2
                "-Wno-psabi",  # vectors are never passed between files
                "-pthread",
            ],
            extra_link_args=["-pthread"],
            optional=True,
        ),
        Extension(
            "pipelines._normalise",  # likewise
            sources=["pipelines/csrc/normalise.cpp"],
            language="c++",
            extra_compile_args=["-std=c++17", "-O3", "-fvisibility=hidden", "-ffp-contract=off"],
            optional=True,
        ),
    ]
)
