"""What an accident, or a stranger, does to a file: to its bytes, to values in JSON, to tables."""

import polars as pl

INSERTS = [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"<", b">", b"{", b"[" * 2000, b"nan", b"1e999", b"\xef\xbb\xbf"]
JUNK = [
    None, True, -1, 0, 1, 2, 3, 2**31, 2**63, 2**70, 0.5, 1e300, -1e300, "", "x", "\x1b]0;owned\x07", "\n",
    "../../x", "x" * 5000, [], {}, [1], {"a": None}, [[[[]]]], ["a", "a"], float("nan"), float("inf"),
]  # fmt: skip


def damaged(rng, content):
    """Change some bytes."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 20])):
        place, size = rng.randrange(len(content) + 1), rng.choice([1, 1, 4, 50])
        kind = rng.randrange(6)
        if kind == 0:
            content[place : place + size] = rng.randbytes(size)
        elif kind == 1:
            del content[place : place + size]
        elif kind == 2:
            content[place:place] = rng.choice(INSERTS)
        elif kind == 3:
            content[place:place] = content[max(0, place - size) : place]
        elif kind == 4 and place < len(content):
            content[place] ^= 1 << rng.randrange(8)
        else:
            del content[place:]
    return bytes(content)


def tampered(rng, value):
    """Change one value, or one key, somewhere in plain values, in place; return them."""
    places = []

    def walk(inside):
        for key in inside if isinstance(inside, dict) else range(len(inside)):
            places.append((inside, key))
            if isinstance(inside[key], dict | list):
                walk(inside[key])

    walk(value)
    for _ in range(rng.choice([1, 1, 1, 3])):
        inside, key = rng.choice(places)
        if isinstance(inside, dict) and key not in inside:
            continue
        if isinstance(inside, dict) and rng.random() < 0.2:
            moved = inside.pop(key)
            if rng.random() < 0.5:
                inside[rng.choice(["", "x", "\x1b[2J", key.upper()])] = moved
        elif isinstance(inside, dict) or key < len(inside):
            old = inside[key]
            near = isinstance(old, int | float) and not isinstance(old, bool) and rng.random() < 0.3
            inside[key] = old + rng.choice([-1, 1, 0.5, 1000]) if near else rng.choice(JUNK)
    return value


def retabled(rng, frame):
    """Change one column, or the rows, of a table."""
    name = rng.choice(frame.columns)
    column = frame[name]
    odd = [None, "", "x", "\x1b[31m"] if column.dtype == pl.String else [None, -1, 0, 2**40, 10**18]
    if column.dtype.is_float():
        odd = [None, -1.0, 0.0, 1e300, float("nan"), float("inf")]
    if column.dtype == pl.Boolean:
        odd = [None, True, False]
    kind = rng.randrange(8)
    if kind == 0:
        return frame.drop(name)
    if kind == 1:
        return frame.rename({name: rng.choice(["x", "", name + " "])})
    if kind == 2:
        kinds = [pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Int32, pl.Binary, pl.List(pl.Int64)]
        return frame.with_columns(pl.lit(None, dtype=rng.choice(kinds)).alias(name))
    if kind == 3:
        return frame.head(rng.randrange(frame.height + 1))
    if kind == 4:
        return pl.concat([frame, frame.head(rng.randrange(1, 4))])
    if kind == 5:
        return frame.sample(fraction=1, shuffle=True, seed=rng.randrange(100))
    if frame.is_empty():
        return frame
    values = column.to_list()
    if kind == 6:  # one cell
        values[rng.randrange(len(values))] = rng.choice(odd)
    else:
        values = [rng.choice(odd)] * len(values)
    return frame.with_columns(pl.Series(name, values, dtype=column.dtype, strict=False))
