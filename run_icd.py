#!/usr/bin/env python3
"""ICD (CVPR 2020), from photographs and tags to pseudo masks, with the flags of the original program.

python run_icd.py                        the embedded data set, a few minutes on a CPU
python run_icd.py --gpus 0,1 --use-sal   VOC 2012, after `icd data prepare --voc-root DIR`
"""

import sys

from icd.cli.main import guarded
from icd.cli.run import parser_of, run


def main(argv=None) -> int:
    """Parse the flags and run all stages."""

    def parse_and_run(words):
        arguments = parser_of("run_icd.py", __doc__).parse_args(words)
        arguments.chain = "icd"
        arguments.until = arguments.until or "score"  # the original ends with its seeds
        return run(arguments)

    return guarded(parse_and_run, argv)


if __name__ == "__main__":
    sys.exit(main())
