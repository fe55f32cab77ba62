"""The Triton kernel of SAN's pairwise gamma, for inference: relation, two norms, two linear maps, a window row at a time.

The rows of both matrix products are P output positions times T taps of a window row; the relation and the hidden layer of these
live in registers. The two channels of the positions join the first product as two outer products, so that no block grows for them.
Legend: P positions of a tile of P / 8 rows of 8; T taps of a window row, a power of two; D query and key channels, BR of them at a
        time; F hidden channels, BF their block; G outputs, BG their block; R channels of the relation, D or D + 2.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import fold, product, tile_of

SIZES = ["H", "W", "tiles_h", "tiles_w"]


@triton.jit
def normalised(x, gain, offset, moments, channel, known, eps, COUNT: tl.constexpr):
    """relu(gain (x - mean) / sqrt(variance + eps) + offset) of x (rows, channels); zero where a channel is not known."""
    scale = tl.load(gain + channel, mask=known, other=0.0).to(tl.float32)
    shift = tl.load(offset + channel, mask=known, other=0.0).to(tl.float32)
    mean = tl.load(moments + channel, mask=known, other=0.0).to(tl.float32)
    variance = tl.load(moments + COUNT + channel, mask=known, other=1.0).to(tl.float32)
    scale = scale / tl.sqrt(variance + eps)
    return tl.maximum((x - mean[None, :]) * scale[None, :] + shift[None, :], 0.0)


@triton.jit
def place_term(
    position, own, other, inside, real, p_c, hidden, gain, offset, moments, weight, eps,
    axis: tl.constexpr, D: tl.constexpr, F: tl.constexpr, BF: tl.constexpr, RELATIVE: tl.constexpr,
):  # fmt: skip
    """hidden, and what one axis of the positions adds to it: own and other are the places of centre and tap in the map."""
    f = tl.arange(0, BF)
    x = tl.load(position + axis * p_c + other, mask=real, other=0.0).to(tl.float32)
    if RELATIVE:
        x = tl.load(position + axis * p_c + own, mask=inside, other=0.0).to(tl.float32) - x
    channel = D + axis + tl.zeros((1,), tl.int32)
    z = normalised(x[:, None], gain, offset, moments, channel, channel >= 0, eps, D + 2)
    w = tl.load(weight + f * (D + 2) + D + axis, mask=f < F, other=0.0).to(tl.float32)
    return hidden + z * w[None, :]


@triton.jit(do_not_specialize=SIZES)
def forward(
    q, k, position, gain1, offset1, moments1, w1, gain2, offset2, moments2, w2, bias, y,
    eps1, eps2, q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, p_c, p_h, p_w,
    H, W, tiles_h, tiles_w,
    D: tl.constexpr, F: tl.constexpr, G: tl.constexpr, K: tl.constexpr,
    SIGN: tl.constexpr, PLACES: tl.constexpr, RELATIVE: tl.constexpr, REFLECT: tl.constexpr, PRECISION: tl.constexpr,
    P: tl.constexpr, T: tl.constexpr, BR: tl.constexpr, BF: tl.constexpr, BG: tl.constexpr,
):  # fmt: skip
    """Logits y (B, H, W, K*K, G) of queries and keys (B, D, H, W)."""
    R: tl.constexpr = D + 2 if PLACES else D
    n = tl.arange(0, P * T)
    rest, row, col = tile_of(tl.program_id(0), n // T, tiles_h, tiles_w, P)
    b = rest.to(tl.int64)
    t = n % T
    inside = (row < H) & (col < W) & (t < K)
    e, f, g = tl.arange(0, BR), tl.arange(0, BF), tl.arange(0, BG)
    down = tl.load(w2 + g[None, :] * F + f[:, None], mask=(f < F)[:, None] & (g < G)[None, :], other=0.0)
    offsets = tl.load(bias + g, mask=g < G, other=0.0).to(tl.float32)
    for i in range(K):
        at, along = row + i - K // 2, col + t - K // 2
        if REFLECT:
            at, along, real = fold(at, H), fold(along, W), inside
        else:
            real = inside & (at >= 0) & (at < H) & (along >= 0) & (along < W)
        hidden = tl.zeros((P * T, BF), tl.float32)
        for first in tl.static_range(0, D, BR):
            r = first + e
            own = q + b * q_b + r[None, :] * q_c + (row * q_h + col * q_w)[:, None]
            other = k + b * k_b + r[None, :] * k_c + (at * k_h + along * k_w)[:, None]
            x = tl.load(own, mask=inside[:, None] & (r < D)[None, :], other=0.0).to(tl.float32)
            x += SIGN * tl.load(other, mask=real[:, None] & (r < D)[None, :], other=0.0).to(tl.float32)
            z = normalised(x, gain1, offset1, moments1, r, r < D, eps1, R).to(q.dtype.element_ty)
            up = tl.load(w1 + f[None, :] * R + r[:, None], mask=(r < D)[:, None] & (f < F)[None, :], other=0.0)
            hidden += product(z, up.to(z.dtype), PRECISION)
        if PLACES:
            for axis in tl.static_range(2):
                hidden = place_term(
                    position, row * p_h + col * p_w, at * p_h + along * p_w, inside, real, p_c, hidden,
                    gain1, offset1, moments1, w1, eps1, axis, D, F, BF, RELATIVE,
                )  # fmt: skip
        u = normalised(hidden, gain2, offset2, moments2, f, f < F, eps2, F).to(q.dtype.element_ty)
        logits = product(u, down.to(u.dtype), PRECISION) + offsets[None, :]
        out = y + ((b * H + row) * W + col)[:, None] * (K * K * G) + (i * K + t)[:, None] * G + g[None, :]
        tl.store(out, logits.to(y.dtype.element_ty), mask=inside[:, None] & (g < G)[None, :])
