"""One training step of a BERT encoder layer as a cascade: every kernel of a framework, forward and backward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...ir import Access, Einsum, Role, Workload, parse_cascade

SIZES = {"b": 8, "l": 512, "j": 512, "k": 512, "h": 16, "p": 64, "i": 1024, "o": 1024, "u": 4096, "c": 3}
"""BERT large, sequences of 512, batch 8 (MLSys 2021); l, j and k are tokens, i and o hidden channels."""

FORWARD = {
    "qkv": "P[c,b,l,h,p] = X[b,l,i] * WQKV[c,h,p,i]",
    "input bias": "PB[c,b,l,h,p] = P[c,b,l,h,p] + BI[c,h,p]",
    "scale": "QS[b,j,h,p] = PB[0,b,j,h,p] * 0.125",
    "scores": "S[b,h,j,k] = QS[b,j,h,p] * PB[1,b,k,h,p]",
    "softmax": "SM[b,h,j] = max(k) S[b,h,j,k]; SE[b,h,j,k] = exp(S[b,h,j,k] - SM[b,h,j]); SS[b,h,j] = SE[b,h,j,k]; "
               "AL[b,h,j,k] = SE[b,h,j,k] / SS[b,h,j]",
    "dropout 0": "M0[b,h,j,k] = 1; AD[b,h,j,k] = AL[b,h,j,k] * M0[b,h,j,k]",
    "gamma": "G[b,j,h,p] = AD[b,h,j,k] * PB[2,b,k,h,p]",
    "out": "O[b,j,i] = G[b,j,h,p] * WO[i,h,p]",
    "output bias": "OB[b,j,i] = O[b,j,i] + BO[i]",
    "dropout 1": "M1[b,j,i] = 1; OD[b,j,i] = OB[b,j,i] * M1[b,j,i]",
    "residual 1": "R1[b,j,i] = OD[b,j,i] + X[b,j,i]",
    "norm 1": "U1[b,j] = R1[b,j,i]; V1[b,j] = R1[b,j,i] * R1[b,j,i]; T1[b,j] = rsqrt(V1[b,j] - U1[b,j] * U1[b,j]); "
              "N1[b,j,i] = (R1[b,j,i] - U1[b,j]) * T1[b,j] * LS1[i] + LB1[i]",
    "linear 1": "F1[b,j,u] = N1[b,j,i] * W1[u,i]",
    "bias 1": "FB[b,j,u] = F1[b,j,u] + B1[u]",
    "relu": "FR[b,j,u] = max(FB[b,j,u], 0)",
    "dropout 2": "M2[b,j,u] = 1; FD[b,j,u] = FR[b,j,u] * M2[b,j,u]",
    "linear 2": "F2[b,j,i] = FD[b,j,u] * W2[i,u]",
    "bias 2": "FC[b,j,i] = F2[b,j,i] + B2[i]",
    "dropout 3": "M3[b,j,i] = 1; FE[b,j,i] = FC[b,j,i] * M3[b,j,i]",
    "residual 2": "R2[b,j,i] = FE[b,j,i] + N1[b,j,i]",
    "norm 2": "U2[b,j] = R2[b,j,i]; V2[b,j] = R2[b,j,i] * R2[b,j,i]; T2[b,j] = rsqrt(V2[b,j] - U2[b,j] * U2[b,j]); "
              "Y[b,j,i] = (R2[b,j,i] - U2[b,j]) * T2[b,j] * LS2[i] + LB2[i]",
}  # fmt: skip
"""Kernels by name; each is one or more Einsums. M0 to M3 are masks of dropout, drawn where they are applied."""


def _norm_backward(n: int, upper: str) -> dict[str, str]:
    """Gradients of layer normalisation n from `upper`, the gradient of its result."""
    return {
        f"norm {n} dw": f"dLS{n}[i] = {upper}[b,j,i] * (R{n}[b,j,i] - U{n}[b,j]) * T{n}[b,j]; "
                        f"dLB{n}[i] = {upper}[b,j,i]",
        f"norm {n} dx": f"A{n}[b,j] = {upper}[b,j,i] * LS{n}[i]; "
                        f"C{n}[b,j] = {upper}[b,j,i] * LS{n}[i] * R{n}[b,j,i]; "
                        f"dR{n}[b,j,i] = {upper}[b,j,i] * LS{n}[i] * T{n}[b,j] "
                        f"- (R{n}[b,j,i] - U{n}[b,j]) * C{n}[b,j] - A{n}[b,j]",
    }  # fmt: skip


BACKWARD = {
    **_norm_backward(2, "dY"),
    "dropout 3 dx": "dFC[b,j,i] = dR2[b,j,i] * M3[b,j,i]",
    "bias 2 dw": "dB2[i] = dFC[b,j,i]",
    "linear 2 dx": "dFD[b,j,u] = dFC[b,j,i] * W2[i,u]",
    "linear 2 dw": "dW2[i,u] = dFC[b,j,i] * FD[b,j,u]",
    "dropout 2 dx": "dFR[b,j,u] = dFD[b,j,u] * M2[b,j,u]",
    "relu dx": "dFB[b,j,u] = dFR[b,j,u] * less(0, FB[b,j,u])",
    "bias 1 dw": "dB1[u] = dFB[b,j,u]",
    "linear 1 dx": "dN1a[b,j,i] = dFB[b,j,u] * W1[u,i]",
    "linear 1 dw": "dW1[u,i] = dFB[b,j,u] * N1[b,j,i]",
    "residual 2 dx": "dN1[b,j,i] = dN1a[b,j,i] + dR2[b,j,i]",
    **_norm_backward(1, "dN1"),
    "dropout 1 dx": "dOB[b,j,i] = dR1[b,j,i] * M1[b,j,i]",
    "output bias dw": "dBO[i] = dOB[b,j,i]",
    "out dx": "dG[b,j,h,p] = dOB[b,j,i] * WO[i,h,p]",
    "out dw": "dWO[i,h,p] = dOB[b,j,i] * G[b,j,h,p]",
    "gamma dx1": "dAD[b,h,j,k] = dG[b,j,h,p] * PB[2,b,k,h,p]",
    "gamma dx2": "dP[2,b,k,h,p] = dG[b,j,h,p] * AD[b,h,j,k]",
    "dropout 0 dx": "dAL[b,h,j,k] = dAD[b,h,j,k] * M0[b,h,j,k]",
    "softmax dx": "E0[b,h,j] = dAL[b,h,j,k] * AL[b,h,j,k]; dS[b,h,j,k] = (dAL[b,h,j,k] - E0[b,h,j]) * AL[b,h,j,k]",
    "scores dx1": "dQS[b,j,h,p] = dS[b,h,j,k] * PB[1,b,k,h,p]",
    "scores dx2": "dP[1,b,k,h,p] = dS[b,h,j,k] * QS[b,j,h,p]",
    "scale dx": "dP[0,b,j,h,p] = dQS[b,j,h,p] * 0.125",
    "input bias dw": "dBI[c,h,p] = dP[c,b,l,h,p]",
    "qkv dx": "dXa[b,l,i] = dP[c,b,l,h,p] * WQKV[c,h,p,i]",
    "qkv dw": "dWQKV[c,h,p,i] = dP[c,b,l,h,p] * X[b,l,i]",
    "residual 1 dx": "dX[b,l,i] = dXa[b,l,i] + dR1[b,l,i]",
}  # fmt: skip

FUSED = (
    ("input bias", "scale"),
    ("softmax", "dropout 0"),
    ("output bias", "dropout 1", "residual 1", "norm 1"),
    ("bias 1", "relu", "dropout 2"),
    ("bias 2", "dropout 3", "residual 2", "norm 2"),
    ("norm 2 dx", "dropout 3 dx"),
    ("dropout 2 dx", "relu dx", "bias 1 dw"),
    ("bias 2 dw", "residual 2 dx", "norm 1 dw"),
    ("norm 1 dx", "dropout 1 dx"),
    ("dropout 0 dx", "softmax dx"),
    ("scale dx", "input bias dw"),
)
"""Kernels that MLSys 2021 fuses into one; what it folds into its softmax, the scale, goes with the biases here."""


def training_step() -> Workload:
    """Forward and backward, one Einsum after the other."""
    return _parsed({**FORWARD, **BACKWARD}, "bert_layer_training")


def inference() -> Workload:
    """Forward alone, without dropout."""
    text = "; ".join(FORWARD.values())
    for n, (tensor, ranks) in enumerate((("AL", "b,h,j,k"), ("OB", "b,j,i"), ("FR", "b,j,u"), ("FC", "b,j,i"))):
        dropped = ("AD", "OD", "FD", "FE")[n]
        text = text.replace(f"M{n}[{ranks}] = 1; {dropped}[{ranks}] = {tensor}[{ranks}] * M{n}[{ranks}]; ", "")
        text = text.replace(f"{dropped}[", f"{tensor}[")
    return _parsed({"all": text}, "bert_layer_inference")


def _parsed(kernels: Mapping[str, str], name: str) -> Workload:
    return parse_cascade("; ".join(kernels.values()), SIZES, bits=16, name=name)


def kernels(fused: bool) -> Iterator[tuple[str, ...]]:
    """Names of the kernels that run as one, in the order of the first of each."""
    groups = {name: group for group in FUSED for name in group} if fused else {}
    seen: set[str] = set()
    for name in (*FORWARD, *BACKWARD):
        if name not in seen:
            group = groups.get(name, (name,))
            seen.update(group)
            yield group


def einsums_of_kernels(workload: Workload) -> dict[str, tuple[Einsum, ...]]:
    """The Einsums of a training step by kernel."""
    einsums = iter(e for e, _ in workload.einsums())
    return {name: tuple(next(einsums) for _ in lines.split("; ")) for name, lines in {**FORWARD, **BACKWARD}.items()}


def moved_bytes(workload: Workload, groups: Iterator[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """Bytes that each group of kernels reads and writes, every tensor once.

    A group reads what others make or what stands ready, and writes what others read or what is a result; of tensors
    that are used by their first index, the parts of it.
    """
    of = einsums_of_kernels(workload)
    whole = _parts_of_tensors(workload)

    def parts(access: Access) -> set[tuple[str, int]]:
        first = access.indices[0]
        among = whole[access.tensor] if first.ranks else {first.offset}
        return {(access.tensor, part) for part in among}

    def used(names: Iterable[str]) -> set[tuple[str, int]]:
        return {x for name in names for e in of[name] for access in e.inputs for x in parts(access)}

    def nbytes(found: Iterable[tuple[str, int]]) -> int:
        return sum(workload.tensors[tensor].nbytes // len(whole[tensor]) for tensor, _ in found)

    results = {t.name for t in workload.tensors.values() if t.role is Role.OUTPUT}
    moved = {}
    for group in groups:
        made = {x for name in group for e in of[name] for x in parts(e.output)}
        outside = used(name for name in of if name not in group)
        moved[group] = nbytes(used(group) - made) + nbytes(x for x in made if x in outside or x[0] in results)
    return moved


def _parts_of_tensors(workload: Workload) -> dict[str, set[int]]:
    """Of tensors of which some access takes one first index, all of those; of others, one part."""
    split = {a.tensor for e, _ in workload.einsums() for a in (*e.inputs, e.output) if not a.indices[0].ranks}
    return {t.name: set(range(t.shape[0])) if t.name in split else {0} for t in workload.tensors.values()}
