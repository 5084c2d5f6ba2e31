//! Weights, moments and gradients on a device, and Adam's step on them.

use candle_core::{Device, Result, Tensor, WithDType};

use crate::kernels::AdamStep;
use crate::number::Number;
use crate::training::config::{DecoderNorm, TrainingConfig};
use crate::training::parameters::Parameters;

/// [`Parameters`] on a device; `None` for arrays that a method does not have.
#[derive(Clone, Debug)]
pub(super) struct Arrays {
    /// `[n_latents, n_inputs]`.
    pub(super) w_enc: Tensor,
    /// `[n_latents]`.
    pub(super) b_enc: Tensor,
    /// `[n_latents, n_outputs]`.
    pub(super) w_dec: Tensor,
    /// `[n_outputs]`.
    pub(super) b_dec: Tensor,
    /// `[n_latents]`, as the two that follow.
    pub(super) thresholds: Option<Tensor>,
    pub(super) log_scale: Option<Tensor>,
    pub(super) magnitude_bias: Option<Tensor>,
}

impl Arrays {
    pub(super) fn upload<T: Number + WithDType>(
        parameters: &Parameters<T>,
        config: &TrainingConfig,
        device: &Device,
    ) -> Result<Self> {
        let matrix = |values: &[T], width: usize| Tensor::from_slice(values, (config.n_latents, width), device);
        let vector = |values: &[T]| Tensor::from_slice(values, values.len(), device);
        let optional = |values: &[T]| (!values.is_empty()).then(|| vector(values)).transpose();
        Ok(Self {
            w_enc: matrix(&parameters.w_enc, config.n_inputs)?,
            b_enc: vector(&parameters.b_enc)?,
            w_dec: matrix(&parameters.w_dec, config.n_outputs)?,
            b_dec: vector(&parameters.b_dec)?,
            thresholds: optional(&parameters.thresholds)?,
            log_scale: optional(&parameters.log_scale)?,
            magnitude_bias: optional(&parameters.magnitude_bias)?,
        })
    }

    pub(super) fn download<T: Number + WithDType>(&self) -> Result<Parameters<T>> {
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<T>();
        let optional = |tensor: &Option<Tensor>| tensor.as_ref().map_or(Ok(Vec::new()), values);
        Ok(Parameters {
            w_enc: values(&self.w_enc)?,
            b_enc: values(&self.b_enc)?,
            w_dec: values(&self.w_dec)?,
            b_dec: values(&self.b_dec)?,
            thresholds: optional(&self.thresholds)?,
            log_scale: optional(&self.log_scale)?,
            magnitude_bias: optional(&self.magnitude_bias)?,
        })
    }

    /// `Σ x²` over all arrays.
    pub(super) fn squares<T: Number + WithDType>(&self) -> Result<f64> {
        let vectors = [Some(&self.b_enc), Some(&self.b_dec), self.thresholds.as_ref()];
        let vectors = vectors.into_iter().chain([self.log_scale.as_ref(), self.magnitude_bias.as_ref()]).flatten();
        let mut sum = squares::<T>(&self.w_enc)? + squares::<T>(&self.w_dec)?;
        for vector in vectors {
            sum += squares::<T>(&vector.unsqueeze(0)?)?;
        }
        Ok(sum)
    }

    /// Decoder rows at norm 1 where they are kept there, a row of zeros as it is; thresholds at 0 or above.
    pub(super) fn constrain(&mut self, norm: DecoderNorm) -> Result<()> {
        if norm == DecoderNorm::Unit {
            let norms = self.w_dec.sqr()?.sum_keepdim(1)?.sqrt()?;
            let divisors = norms.eq(0.0)?.where_cond(&norms.ones_like()?, &norms)?;
            self.w_dec = self.w_dec.broadcast_div(&divisors)?;
        }
        self.thresholds = self.thresholds.as_ref().map(Tensor::relu).transpose()?;
        Ok(())
    }
}

/// `Σ x²` of a matrix: rows on the device, their sums in f64.
pub(super) fn squares<T: Number + WithDType>(rows: &Tensor) -> Result<f64> {
    total::<T>(&rows.sqr()?)
}

/// `Σ x` of a matrix: rows on the device, their sums in f64.
pub(super) fn total<T: Number + WithDType>(rows: &Tensor) -> Result<f64> {
    Ok(rows.sum(1)?.to_vec1::<T>()?.into_iter().map(Number::wide).sum())
}

/// Weights and both moments after a step of Adam with the gradients times `factor`.
pub(super) fn step<T: Number>(
    step: &AdamStep<T>,
    factor: f64,
    gradients: &Arrays,
    weights: &Arrays,
    first: &Arrays,
    second: &Arrays,
) -> Result<(Arrays, Arrays, Arrays)> {
    let (mut weights, mut first, mut second) = (weights.clone(), first.clone(), second.clone());
    let (beta1, beta2) = (step.beta1.wide(), step.beta2.wide());
    let one = |g: &Tensor, w: &mut Tensor, m: &mut Tensor, v: &mut Tensor| -> Result<()> {
        let g = (g * factor)?;
        *m = ((&*m * beta1)? + (&g * (1.0 - beta1))?)?;
        *v = ((&*v * beta2)? + (g.sqr()? * (1.0 - beta2))?)?;
        let divisor = v.sqrt()?.affine(step.second_correction.wide(), step.epsilon.wide())?;
        *w = (&*w - ((&*m * step.rate.wide())? / divisor)?)?;
        Ok(())
    };
    one(&gradients.w_enc, &mut weights.w_enc, &mut first.w_enc, &mut second.w_enc)?;
    one(&gradients.b_enc, &mut weights.b_enc, &mut first.b_enc, &mut second.b_enc)?;
    one(&gradients.w_dec, &mut weights.w_dec, &mut first.w_dec, &mut second.w_dec)?;
    one(&gradients.b_dec, &mut weights.b_dec, &mut first.b_dec, &mut second.b_dec)?;
    for (g, ((w, m), v)) in [
        (&gradients.thresholds, ((&mut weights.thresholds, &mut first.thresholds), &mut second.thresholds)),
        (&gradients.log_scale, ((&mut weights.log_scale, &mut first.log_scale), &mut second.log_scale)),
        (
            &gradients.magnitude_bias,
            ((&mut weights.magnitude_bias, &mut first.magnitude_bias), &mut second.magnitude_bias),
        ),
    ] {
        if let (Some(g), Some(w), Some(m), Some(v)) = (g, w, m, v) {
            one(g, w, m, v)?;
        }
    }
    Ok((weights, first, second))
}
