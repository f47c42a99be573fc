"""A small space to search."""


def write_space(**entries):
    """space.toml in the working directory, with two chains."""
    lines = [f"{name} = {value}" for name, value in ({"samples": 3} | entries).items()]
    chains = ('"cutout:size={s}+mixup"\ns = { low = 2, high = 8 }', '"{m}"\nm = ["cutmix", "mean"]')
    with open("space.toml", "w") as file:
        file.write("\n".join([*lines, *(f"[[chains]]\nchain = {chain}" for chain in chains)]))
