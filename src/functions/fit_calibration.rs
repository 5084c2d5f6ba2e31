//! `fit_calibration(activations, expected, calibration)`: the map from a simulation's scale to the unit's own, of one group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};

use super::arguments::{document, float_list, float_values, floats, list_as, signature};
use crate::error::Error;
use crate::simulations::calibration::{Calibration, FittedCalibration};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct FitCalibration {
    signature: Signature,
    documentation: Documentation,
}

impl Default for FitCalibration {
    fn default() -> Self {
        Self {
            signature: signature(3),
            documentation: document(
                "Fits what brings expected activations to the unit's own units, over all tokens of all rows together: 'linear' (least \
                 squares), 'percentile' (by rank, piecewise linear) or 'none'. A JSON text for calibrate(). To be used on split \
                 calibration, not on what is scored. Tokens without an expected activation and rows with a NULL list are left out; NULL \
                 when there is nothing to fit.",
                "fit_calibration(activations, expected, calibration)",
                "SELECT calibrate([5.0], fit_calibration(a, e, 'linear')) AS expected FROM (VALUES ([0.0, 2.0], [0.0, 10.0])) \
                 AS windows (a, e)",
            ),
        }
    }
}

impl AggregateUDFImpl for FitCalibration {
    fn name(&self) -> &str {
        "fit_calibration"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Pairs::default()))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new("actual", float_list(), true)),
            Arc::new(Field::new("expected", float_list(), true)),
            Arc::new(Field::new("calibration", DataType::Utf8, true)),
        ])
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Actual and expected activations, token by token.
#[derive(Debug, Default)]
struct Pairs {
    actual: Vec<f32>,
    expected: Vec<Option<f32>>,
    calibration: Option<String>,
}

impl Pairs {
    fn add(&mut self, actual: &ListArray, expected: &ListArray) -> Result<()> {
        let (a, e) = (actual.value_offsets(), expected.value_offsets());
        for row in 0..actual.len() {
            if actual.is_null(row) || expected.is_null(row) {
                continue;
            }
            let window = expected.value(row);
            if a[row + 1] - a[row] != e[row + 1] - e[row] {
                let (actual, expected) = ((a[row + 1] - a[row]) as usize, window.len());
                return Err(Error::LengthMismatch { actual, expected }.into());
            }
            self.actual.extend_from_slice(floats("fit_calibration", float_values(actual), a[row], a[row + 1])?);
            self.expected.extend(window.as_primitive::<Float32Type>());
        }
        Ok(())
    }

    fn name(&mut self, names: &ArrayRef) -> Result<()> {
        if self.calibration.is_none() {
            let names = cast(names, &DataType::Utf8)?;
            self.calibration = names.as_string::<i32>().iter().flatten().next().map(str::to_owned);
        }
        Ok(())
    }
}

impl Accumulator for Pairs {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let actual = list_as("fit_calibration", &values[0], &float_list())?;
        let expected = list_as("fit_calibration", &values[1], &float_list())?;
        self.name(&values[2])?;
        self.add(&actual, &expected)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(name) = &self.calibration else { return Ok(ScalarValue::Utf8(None)) };
        let calibration: Calibration = name.parse()?;
        let fitted = FittedCalibration::fit(calibration, &self.actual, &self.expected)?;
        match fitted.map(|fitted| serde_json::to_string(&fitted)).transpose() {
            Ok(text) => Ok(ScalarValue::Utf8(text)),
            Err(error) => exec_err!("'fit_calibration': {error}"),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.actual.capacity() * 4 + self.expected.capacity() * 8
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let one = |values: Float32Array| -> Result<ScalarValue> {
            let field = Arc::new(Field::new("element", DataType::Float32, true));
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            Ok(ScalarValue::List(Arc::new(ListArray::try_new(field, offsets, Arc::new(values), None)?)))
        };
        Ok(vec![
            one(std::mem::take(&mut self.actual).into())?,
            one(std::mem::take(&mut self.expected).into())?,
            ScalarValue::Utf8(self.calibration.clone()),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let actual = list_as("fit_calibration", &states[0], &float_list())?;
        let expected = list_as("fit_calibration", &states[1], &float_list())?;
        self.name(&states[2])?;
        self.add(&actual, &expected)
    }
}
