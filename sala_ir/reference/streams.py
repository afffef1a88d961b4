"""Several residual streams of a token: how a block reads them, and how it writes them."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array
from sala_compile.sala_ir.reference.gates import sigmoid


def connect_streams(
    logits: Array,
    x: Array,
    base: Array,
    scale: Array,
    *,
    streams: int,
    iterations: int,
    eps: float,
    norm_eps: float,
) -> Array:
    """Return [tokens, N*(N+2)]: what a block reads of N streams, what it writes, how they mix.

    x [tokens, N*H] the streams side by side, logits [tokens, N*(N+2)] a linear of them, base
    [N*(N+2)], scale [3]. Logits are divided by the root of mean(x^2) + `norm_eps`; times the scale
    of their part, plus base, they become sigmoid + `eps`, 2 sigmoid, and a matrix of positive
    numbers whose rows and columns, after `iterations` of Sinkhorn and Knopp, sum to about 1.
    """
    xp = array_namespace(logits, x)
    f = logits / xp.sqrt(xp.mean(xp.square(x), axis=-1, keepdims=True) + norm_eps)
    ends = (streams, 2 * streams, streams * (streams + 2))
    pre, post, mix = (
        f[:, first:last] * scale[part] + base[first:last]
        for part, (first, last) in enumerate(zip((0, *ends), ends, strict=False))
    )
    mix = xp.reshape(mix, (mix.shape[0], streams, streams))
    mix = xp.exp(mix - xp.max(mix, axis=2, keepdims=True))
    mix = mix / xp.sum(mix, axis=2, keepdims=True) + eps
    mix = mix / (xp.sum(mix, axis=1, keepdims=True) + eps)
    for _ in range(iterations - 1):
        mix = mix / (xp.sum(mix, axis=2, keepdims=True) + eps)
        mix = mix / (xp.sum(mix, axis=1, keepdims=True) + eps)
    flat = xp.reshape(mix, (mix.shape[0], streams**2))
    return xp.concat([sigmoid(pre) + eps, 2 * sigmoid(post), flat], axis=1)


def join_streams(x: Array, shares: Array | None = None, *, streams: int) -> Array:
    """Return the sum of N streams side by side, x [tokens, N*H], times shares [tokens, N].

    Without shares it is their mean: [tokens, H].
    """
    xp = array_namespace(x)
    parts = _apart(x, streams)
    if shares is None:
        return xp.mean(parts, axis=1)
    return xp.sum(parts * shares[:, :, None], axis=1)


def spread_streams(
    y: Array,
    x: Array | None = None,
    gains: Array | None = None,
    mix: Array | None = None,
    *,
    streams: int,
) -> Array:
    """Return N streams side by side [tokens, N*H]: x'_m = gains_m y + sum_n mix[n, m] x_n.

    y [tokens, H], x [tokens, N*H], gains [tokens, N], mix [tokens, N*N]. Without mix x_m itself is
    added to, without gains they are 1, without x there is nothing to add to.
    """
    xp = array_namespace(y)
    tokens, columns = y.shape
    new = xp.broadcast_to(y[:, None, :], (tokens, streams, columns))
    if gains is not None:
        new = new * gains[:, :, None]
    if x is not None:
        old = _apart(x, streams)
        if mix is not None:
            share = xp.reshape(mix, (tokens, streams, streams))
            old = xp.matmul(xp.permute_dims(share, (0, 2, 1)), old)
        new = new + old
    return xp.reshape(new, (tokens, streams * columns))


def _apart(x: Array, streams: int) -> Array:
    """View [tokens, N*H] as [tokens, N, H]."""
    return array_namespace(x).reshape(x, (x.shape[0], streams, x.shape[1] // streams))
