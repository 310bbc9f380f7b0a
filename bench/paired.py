"""What paired differences say: an estimate, and how far it can be trusted."""

import math


def signed_rank_cut(n):
    """The largest C for which a signed-rank sum of n pairs is <= C in at most 2.5 % of all cases,
    exactly; -1 where n is too small for any."""
    ways = [1]
    for rank in range(1, n + 1):
        longer = ways + [0] * rank
        for total, count in enumerate(ways):
            longer[total + rank] += count
        ways = longer
    below, cut = 0, -1
    for total, count in enumerate(ways):
        below += count
        if below > 0.025 * 2**n:
            break
        cut = total
    return cut


def hodges_lehmann(differences):
    """Median of all means of two, and the 95 % interval that belongs to it (Wilcoxon's test turned
    round). No assumption but that the differences are as often above their middle as below, and
    as far; outliers of a busy machine do little. The interval is infinite below 6 pairs."""
    means = sorted(
        (a + b) / 2 for i, a in enumerate(differences) for b in differences[i:]
    )
    middle = len(means) // 2
    estimate = means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2
    cut = signed_rank_cut(len(differences))
    if cut < 0:
        return estimate, -math.inf, math.inf
    return estimate, means[cut], means[-1 - cut]


def verdict(low, high, most=0):
    """Whether a quantity with this interval is at most `most`, in words."""
    if high <= most:
        return "held"
    return "NOT held" if low > most else "not told apart"


def self_check():
    # From printed tables of the signed-rank test, two-sided 5 %.
    assert [signed_rank_cut(n) for n in (5, 6, 10, 20, 25)] == [-1, 0, 8, 52, 89]
    assert hodges_lehmann([1, 2, 3]) == (2, -math.inf, math.inf)
    estimate, low, high = hodges_lehmann(list(range(-10, 11)))
    assert estimate == 0 and low == -high and -10 < low < 0
    assert [verdict(-2, -1), verdict(-2, 0), verdict(-1, 1), verdict(1, 2)] == [
        "held", "held", "not told apart", "NOT held"]


self_check()
