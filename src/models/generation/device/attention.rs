//! Attention in parts: over a sequence's own keys, then over each shared segment, put together by their sums.

use candle_core::{D, DType, Result, Tensor};

use super::plan::Group;

/// Softmax over some of the keys, before it is divided by its sum. All f32, `[n_kv_heads, n_rows, group, ...]`.
#[derive(Debug)]
pub(crate) struct Part {
    /// The largest score, `[..., 1]`; minus infinity where no key was looked at.
    largest: Tensor,
    /// Sum of exp(score - largest), `[..., 1]`.
    sum: Tensor,
    /// Sum of exp(score - largest) * value, `[..., d_head]`.
    mixed: Tensor,
}

impl Part {
    /// What keys and values give queries, by scores `[..., n_queries, n_keys]` and values `[..., n_keys, d_head]`.
    fn new(scores: &Tensor, values: &Tensor) -> Result<Self> {
        let largest = scores.max_keepdim(D::Minus1)?;
        let weights = scores.broadcast_sub(&largest)?.exp()?;
        let sum = weights.sum_keepdim(D::Minus1)?;
        let mixed = weights.to_dtype(values.dtype())?.matmul(values)?.to_dtype(DType::F32)?;
        Ok(Self { largest, sum, mixed })
    }

    /// Queries `[n_kv_heads, n_rows, group, d_head]` over the own keys of a group of sequences; keys and values are
    /// `[n_kv_heads, n_places, d_head]`.
    pub(crate) fn own(queries: &Tensor, keys: &Tensor, values: &Tensor, group: &Group) -> Result<Self> {
        let (n_kv_heads, _, heads, d_head) = queries.dims4()?;
        let Group { n_pieces, n_tokens, n_keys, .. } = *group;
        let gather =
            |places: &Tensor| places.index_select(&group.keys, 1)?.reshape((n_kv_heads, n_pieces, n_keys, d_head));
        let queries =
            queries.index_select(&group.rows, 1)?.reshape((n_kv_heads, n_pieces, n_tokens * heads, d_head))?;
        let scores = queries.matmul(&gather(keys)?.t()?)?.to_dtype(DType::F32)?;
        let scores = scores
            .reshape((n_kv_heads, n_pieces, n_tokens, heads, n_keys))?
            .broadcast_add(&group.mask)?
            .reshape((n_kv_heads, n_pieces, n_tokens * heads, n_keys))?;
        let part = Self::new(&scores, &gather(values)?)?;
        part.each(|values| {
            let width = values.dim(D::Minus1)?;
            values.reshape((n_kv_heads, n_pieces * n_tokens, heads, width))?.index_select(&group.real, 1)
        })
    }

    /// Queries `[n_kv_heads, n_rows, group, d_head]` over keys and values `[n_kv_heads, n_keys, d_head]` that all of them see.
    pub(crate) fn shared(queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Self> {
        let (n_kv_heads, n_rows, heads, d_head) = queries.dims4()?;
        let queries = queries.contiguous()?.reshape((n_kv_heads, n_rows * heads, d_head))?;
        let scores = queries.matmul(&keys.t()?)?.to_dtype(DType::F32)?;
        Self::new(&scores, values)?.each(|values| values.reshape((n_kv_heads, n_rows, heads, values.dim(D::Minus1)?)))
    }

    /// What queries `[n_kv_heads, n_rows, group, d_head]` get that look at nothing.
    pub(crate) fn nothing(queries: &Tensor) -> Result<Self> {
        let (n_kv_heads, n_rows, heads, d_head) = queries.dims4()?;
        let zeros = |width| Tensor::zeros((n_kv_heads, n_rows, heads, width), DType::F32, queries.device());
        Ok(Self { largest: (zeros(1)? + f64::NEG_INFINITY)?, sum: zeros(1)?, mixed: zeros(d_head)? })
    }

    /// Parts of rows that stand one after another, as one.
    pub(crate) fn rows(mut parts: Vec<Self>) -> Result<Self> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let join = |field: fn(&Self) -> &Tensor| Tensor::cat(&parts.iter().map(field).collect::<Vec<_>>(), 1);
        Ok(Self {
            largest: join(|part| &part.largest)?,
            sum: join(|part| &part.sum)?,
            mixed: join(|part| &part.mixed)?,
        })
    }

    /// The softmax over this part's keys and another's; `self` has looked at one key at least in every row.
    pub(crate) fn with(&self, other: &Self) -> Result<Self> {
        let largest = self.largest.maximum(&other.largest)?;
        let mine = (&self.largest - &largest)?.exp()?;
        let theirs = (&other.largest - &largest)?.exp()?;
        Ok(Self {
            sum: ((&self.sum * &mine)? + (&other.sum * &theirs)?)?,
            mixed: (self.mixed.broadcast_mul(&mine)? + other.mixed.broadcast_mul(&theirs)?)?,
            largest,
        })
    }

    /// The heads' outputs, `[n_rows, n_heads * d_head]`.
    pub(crate) fn finish(&self) -> Result<Tensor> {
        let (n_kv_heads, n_rows, heads, d_head) = self.mixed.dims4()?;
        let outputs = self.mixed.broadcast_div(&self.sum)?;
        outputs.transpose(0, 1)?.contiguous()?.reshape((n_rows, n_kv_heads * heads * d_head))
    }

    fn each(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { largest: change(&self.largest)?, sum: change(&self.sum)?, mixed: change(&self.mixed)? })
    }
}
