#!/usr/bin/env python3
"""A plasmid of Yersinia pestis and the ribosomal spacers of 94 orchids: composition, open reading frames, codon usage, kinship.

Reads   data/NC_005816.gb     plasmid pPCP1 with its annotation
        data/ls_orchid.fasta  5.8S rRNA gene with ITS1 and ITS2 of lady's slipper orchids
Writes  results/*.csv, results/orchids.nwk, results/plasmid.{svg,png}, results/orchids.{svg,png}
"""

import csv
import math
import os
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

from picture import Picture, shade

WINDOW, STEP = 300, 50  # bases, of the GC curve
SHORTEST = int(os.environ.get("SHORTEST_ORF", "60"))  # codons, of an open reading frame worth listing
K = int(os.environ.get("KMER", "8"))  # bases, of the words that two spacers are compared by
RESULTS = Path("results")
STARTS, STOPS = {"ATG", "GTG", "TTG"}, {"TAA", "TAG", "TGA"}
AMINO = dict(
    zip(
        (a + b + c for a in "TCAG" for b in "TCAG" for c in "TCAG"),
        "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
        strict=True,
    )
)
GENERA = {"C": "Cypripedium", "M": "Mexipedium", "P": "Paphiopedilum, Phragmipedium"}
COLORS = {"C": "#1b6ca8", "M": "#e0a030", "P": "#c8553d"}


def read_genbank(path):
    """The sequence and its coding regions: (start, end, strand, name), counted from 0, the end outside."""
    text = Path(path).read_text()
    head, _, tail = text.partition("\nORIGIN")
    sequence = re.sub(r"[^acgtn]", "", tail.lower()).upper()
    genes = []
    for feature in re.finditer(r"\n     CDS +(\S+)((?:\n {21}.*)+)", head):
        low, high = (int(number) for number in re.findall(r"\d+", feature[1])[:2])
        name = re.search(r'/gene="([^"]+)"', feature[2]) or re.search(r'/locus_tag="([^"]+)"', feature[2])
        genes.append((low - 1, high, -1 if "complement" in feature[1] else 1, name[1]))
    return sequence, genes


def read_fasta(path):
    """Name and sequence of each record; the name is the species."""
    for record in Path(path).read_text().split(">")[1:]:
        title, _, lines = record.partition("\n")
        yield title.split()[1], lines.replace("\n", "").upper()


def reverse_complement(sequence):
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def gc_windows(sequence):
    """Middle, GC percentage and GC skew of windows around a circle."""
    circle = sequence + sequence[:WINDOW]
    for start in range(0, len(sequence), STEP):
        count = Counter(circle[start : start + WINDOW])
        strong = count["G"] + count["C"]
        yield (start + WINDOW // 2) % len(sequence), 100 * strong / WINDOW, (count["G"] - count["C"]) / max(1, strong)


def open_reading_frames(sequence):
    """Longest start-to-stop frames of both strands of a circle: (start, end, strand, codons), counted on the given strand."""
    length = len(sequence)
    for strand, template in ((1, sequence), (-1, reverse_complement(sequence))):
        circle, seen = template * 2, set()
        for first in range(length):
            if circle[first : first + 3] not in STARTS:
                continue
            last = next((at for at in range(first, first + length - 2, 3) if circle[at : at + 3] in STOPS), None)
            if last is None or last % length in seen:
                continue
            seen.add(last % length)  # the first start before a stop makes the longest frame
            codons = (last - first) // 3
            if codons >= SHORTEST:
                low, high = (first, last + 3) if strand == 1 else (length - last - 3, length - first)
                yield low, high, strand, codons


def codon_usage(sequence, genes):
    """How often each codon stands in the annotated genes, and its share among those of the same amino acid."""
    counts = Counter()
    for low, high, strand, _ in genes:
        coding = sequence[low:high] if strand == 1 else reverse_complement(sequence[low:high])
        counts.update(coding[at : at + 3] for at in range(0, len(coding) - 2, 3))
    totals = Counter()
    for codon, number in counts.items():
        totals[AMINO[codon]] += number
    for codon, amino in sorted(AMINO.items(), key=lambda item: (item[1], item[0])):
        yield codon, amino, counts[codon], counts[codon] / max(1, totals[amino])


def mash_distances(records):
    """Distances by shared k-mers (Ondov et al. 2016): -ln(2 j / (1 + j)) / k, of the Jaccard index j; at most 1."""
    words = [{sequence[at : at + K] for at in range(len(sequence) - K + 1)} for _, sequence in records]
    table = [[0.0] * len(words) for _ in words]
    for one, other in combinations(range(len(words)), 2):
        common = len(words[one] & words[other])
        jaccard = common / (len(words[one]) + len(words[other]) - common)
        table[one][other] = table[other][one] = min(1.0, -math.log(2 * jaccard / (1 + jaccard)) / K) if jaccard else 1.0
    return table


def upgma(table):
    """The tree by average linkage: nested (left, right, height), leaves are numbers."""
    trees, sizes = dict(enumerate(range(len(table)))), dict.fromkeys(range(len(table)), 1)
    distance = {(i, j): table[i][j] for i, j in combinations(range(len(table)), 2)}
    following = len(table)
    while len(trees) > 1:
        (one, other), gap = min(distance.items(), key=lambda item: (item[1], item[0]))
        rest = [key for key in trees if key not in (one, other)]
        joined = {}
        for key in rest:
            to_one, to_other = distance[min(one, key), max(one, key)], distance[min(other, key), max(other, key)]
            joined[key, following] = (to_one * sizes[one] + to_other * sizes[other]) / (sizes[one] + sizes[other])
        distance = {pair: value for pair, value in distance.items() if one not in pair and other not in pair} | joined
        trees[following] = (trees.pop(one), trees.pop(other), gap / 2)
        sizes[following] = sizes.pop(one) + sizes.pop(other)
        following += 1
    return next(iter(trees.values()))


def leaves(tree):
    return [tree] if isinstance(tree, int) else leaves(tree[0]) + leaves(tree[1])


def newick(tree, names, above):
    height = 0.0 if isinstance(tree, int) else tree[2]
    inside = (
        names[tree] if isinstance(tree, int) else f"({newick(tree[0], names, height)},{newick(tree[1], names, height)})"
    )
    return f"{inside}:{above - height:.5f}"


def draw_plasmid(sequence, genes, frames, windows):
    """The GC curve over the annotated genes and the frames that were found."""
    figure, left, wide = Picture(900, 430), 70, 800
    along = lambda base: left + wide * base / len(sequence)  # noqa: E731
    mean = sum(gc for _, gc, _ in windows) / len(windows)
    level = lambda gc: 60 + 180 * (65 - gc) / 40  # noqa: E731
    figure.text(left, 30, f"Yersinia pestis plasmid pPCP1, {len(sequence)} bp, GC {mean:.1f} %", 14)
    for gc in range(25, 66, 10):
        figure.line([(left, level(gc)), (left + wide, level(gc))], "#e6e0d4")
        figure.text(left - 8, level(gc) + 4, f"{gc}", 14, "#666666", "end")
    figure.text(22, 150, "GC %", 14, "#666666", "middle", turned=True)
    figure.line([(left, level(mean)), (left + wide, level(mean))], "#999999")
    figure.line([(along(middle), level(gc)) for middle, gc, _ in sorted(windows)], "#1b6ca8", 1.6)
    rows = (("genes", genes, 270, "#4a1942"), ("frames", frames, 335, "#c8553d"))
    for title, spans, top, color in rows:
        figure.text(left - 8, top + 26, title, 14, "#666666", "end")
        figure.line([(left, top + 22), (left + wide, top + 22)], "#e6e0d4")
        for low, high, strand, name in spans:
            for begin, end in ((low, min(high, len(sequence))), (0, high - len(sequence))):
                if end > begin:
                    figure.box(along(begin), top + (2 if strand == 1 else 24), along(end) - along(begin) - 1, 18, color)
            if isinstance(name, str):
                middle = along((low + high) / 2)
                figure.text(
                    middle, top + (14 if strand == 1 else 36), name.replace("YP_pPCP", ""), 7, "#ffffff", "middle"
                )
    for base in range(0, len(sequence), 1000):
        figure.line([(along(base), 392), (along(base), 398)], "#666666")
        figure.text(along(base), 414, f"{base // 1000}", 14, "#666666", "middle")
    figure.text(left + wide, 414, "kb", 14, "#666666", "end")
    figure.save(RESULTS / "plasmid")


def draw_orchids(names, table, tree):
    """The tree beside the table of distances, both in the tree's order; a stripe tells the genus."""
    order, cell, left, top = leaves(tree), 8, 250, 70
    figure = Picture(left + len(order) * cell + 110, top + len(order) * cell + 40)
    place = {leaf: top + (row + 0.5) * cell for row, leaf in enumerate(order)}
    highest = tree[2]
    far = max(max(row) for row in table)
    across = lambda height: left - 22 - (left - 40) * height / highest  # noqa: E731

    def branch(part):
        """Draw a part of the tree; where its stem meets the branch above."""
        if isinstance(part, int):
            return place[part], across(0)
        (first, near), (second, other) = branch(part[0]), branch(part[1])
        stem = across(part[2])
        figure.line([(near, first), (stem, first), (stem, second), (other, second)], "#444444")
        return (first + second) / 2, stem

    branch(tree)
    for row, one in enumerate(order):
        figure.box(left - 16, top + row * cell, 10, cell, COLORS[names[one][0]])
        for column, other in enumerate(order):
            figure.box(left + column * cell, top + row * cell, cell, cell, shade(table[one][other] / far))
        figure.text(left + len(order) * cell + 6, top + row * cell + 6, names[one], 7)
    figure.text(18, 26, f"{len(order)} lady's slipper orchids: ITS distances by shared {K}-mers, UPGMA", 14)
    x = left
    for letter, genus in GENERA.items():
        figure.box(x, 44, 12, 12, COLORS[letter])
        figure.text(x + 18, 55, genus, 14)
        x += 48 + 6 * len(genus)
    for step in range(100):
        figure.box(left + 4 * step, top + len(order) * cell + 10, 4, 10, shade(step / 99))
    figure.text(left, top + len(order) * cell + 34, "0", 14)
    figure.text(left + 400, top + len(order) * cell + 34, f"{far:.2f}", 14, anchor="end")
    figure.save(RESULTS / "orchids")


def write_csv(name, header, rows):
    with (RESULTS / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{value:.5f}" if isinstance(value, float) else value for value in row] for row in rows)


def main():
    RESULTS.mkdir(exist_ok=True)
    sequence, genes = read_genbank("data/NC_005816.gb")
    windows, frames = list(gc_windows(sequence)), sorted(open_reading_frames(sequence))
    write_csv("gc_windows.csv", ("middle", "gc_percent", "gc_skew"), windows)
    write_csv("orfs.csv", ("start", "end", "strand", "codons"), ((low + 1, high, s, n) for low, high, s, n in frames))
    write_csv("codon_usage.csv", ("codon", "amino_acid", "count", "share"), codon_usage(sequence, genes))
    draw_plasmid(sequence, genes, frames, windows)
    stops = {(high, 1) if strand == 1 else (low, -1) for low, high, strand, _ in frames}
    found = sum(((high, 1) if strand == 1 else (low, -1)) in stops for low, high, strand, _ in genes)
    print(
        f"plasmid: {len(sequence)} bp, {len(frames)} open reading frames; {found} of {len(genes)} annotated genes among them"
    )

    records = list(read_fasta("data/ls_orchid.fasta"))
    names = [name for name, _ in records]
    table = mash_distances(records)
    tree = upgma(table)
    pairs = ((names[i], names[j], table[i][j]) for i, j in combinations(range(len(names)), 2))
    write_csv("orchid_distances.csv", ("one", "other", "distance"), pairs)
    (RESULTS / "orchids.nwk").write_text(newick(tree, names, tree[2]) + ";\n")
    draw_orchids(names, table, tree)
    print(f"orchids: {len(names)} spacers, most different {max(map(max, table)):.3f}, root at {tree[2]:.3f}")


if __name__ == "__main__":
    main()
