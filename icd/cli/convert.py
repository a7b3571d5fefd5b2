"""Turn a checkpoint of another program into a .params file under our names, or back.

icd convert eps checkpoint_eps.pth eps.params
icd convert torchvision-vgg16 vgg16-397923af.pth data/pretrained/vgg16_torchvision.params
icd convert eps eps.params checkpoint.pth --reverse

The command also reads .safetensors files. It takes prefixes such as "module." away and names them. It runs nothing that a
checkpoint names, and needs neither torch nor Caffe. Every array must be known, complete and finite.
"""

from __future__ import annotations

from icd.weights.families import FAMILIES


def add_arguments(parser) -> None:
    """Add the command's arguments to an `argparse` parser."""
    parser.add_argument("family", choices=FAMILIES, metavar="FAMILY", help="whose checkpoint; see below")
    parser.add_argument("source", help="checkpoint (with --reverse: .params file)")
    parser.add_argument("target", help=".params file (with --reverse: checkpoint)")
    parser.add_argument(
        "--reverse", action="store_true", help="make the program's checkpoint of our .params file"
    )
    width = max(map(len, FAMILIES))
    parser.epilog = "families:\n" + "\n".join(
        f"  {name:<{width}}  {family.title}" for name, family in FAMILIES.items()
    )


def run(arguments) -> int:
    """Run the command and return its exit status."""
    from icd.weights.convert import convert, convert_back  # here, so that --help does not need MXNet

    work = convert_back if arguments.reverse else convert
    done = work(arguments.family, arguments.source, arguments.target)
    sizes = "".join(f", {number} {word}" for word, number in done.sizes.items())
    print(f"{arguments.target}: {arguments.family} ({done.network}), {done.arrays} arrays{sizes}")
    if done.codebook:
        print(f"  with the codebook {done.codebook}")
    if done.aliases:
        print(f"  {done.aliases} further keys of the same arrays")
    for meaning, number in done.ignored.items():
        print(f"  left aside: {meaning}, {number} keys")
    if done.beside:
        print(f"  left aside: {', '.join(done.beside)}")
    return 0
