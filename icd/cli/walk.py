"""Let score maps of any program walk up to boundary maps of any program, as IRN does (Ahn et al., CVPR 2019). Needs no MXNet.

    icd walk --maps cams --boundaries edges --list train_aug.txt --out walked

Pseudo masks go to OUT/masks/<id>.png, label stacks with all scores to OUT/stacks/<id>.npz. A boundary map is an array (h, w) of
0..1 in <id>.npy, or a gray picture <id>.png, of every pixel or of every k-th one (IRN's: every fourth).
"""

from __future__ import annotations

from pathlib import Path

from icd.cli.flags import add_place, at_least, classes_of_maps, shard


def add_arguments(parser) -> None:
    """Declare the flags."""
    from icd.foreign import LAYOUTS
    from icd.refine.boundary_walk import BACKGROUND, BETA, RADIUS, STEPS

    add = parser.add_argument
    add("--maps", type=Path, required=True, help="folder of score maps")
    add("--boundaries", type=Path, required=True, help="folder of boundary maps <id>.npy or <id>.png")
    add_place(parser, "list", required=True)
    add("--out", type=Path, required=True, help="folder for masks and label stacks")
    add_place(parser, "classes", "[those of the maps' run, else voc]")
    layouts = [name for name in LAYOUTS if name != "icd"]  # whose files say neither classes nor size
    add("--layout", choices=layouts, help="of the score maps [told from the content]")
    add("--background", type=float, help=f"score of the background, 0..1 [{BACKGROUND}]")
    add("--beta", type=float, help=f"exponent of the affinities [{BETA:g}]")
    add("--steps", type=at_least(1), help=f"of the walk [{STEPS}]")
    add(
        "--radius",
        type=at_least(2),
        help=f"pixels nearer than this, on the boundary map's grid, are neighbours [{RADIUS}]",
    )
    add("--workers", type=at_least(0), default=2, help="processes [2]")
    add("--shard", type=shard, default=(1, 1), help="K/N: this process's share of the images")


def run(arguments) -> int:
    """Let what is left walk."""
    from icd.data.catalogue import DataSet
    from icd.provenance import write_derived_run
    from icd.stages.base import GivenMaps, Job
    from icd.stages.walk import WalkToBoundaries

    data = DataSet("folder", classes_of_maps(arguments), None, None, arguments.list)
    job = Job(data, arguments.out, workers=arguments.workers, shard=arguments.shard)
    source = GivenMaps("maps", job, arguments.maps, {"maps": arguments.maps}, {})
    settings = {
        name: getattr(arguments, name)
        for name in ("background", "beta", "steps", "radius", "layout", "boundaries")
    }
    stage = WalkToBoundaries("walk", job, arguments.out, source, **settings)
    stage.check()
    stage.refuse_conflict()
    stage.run()
    write_derived_run(arguments.out, arguments.maps)
    print(f"Masks: {stage.products()['walk/']}")
    return 0
