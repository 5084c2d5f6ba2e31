//! `calibrate(expected, calibration)`: expected activations in the unit's own units.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Builder, ListBuilder};
use arrow::datatypes::{DataType, Field, Float32Type};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, float_list, float_lists, signature, strings};
use crate::simulations::calibration::{Calibration, FittedCalibration};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Calibrate {
    signature: Signature,
    documentation: Documentation,
}

impl Default for Calibrate {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "Expected activations brought to the unit's own units by what fit_calibration() fitted; 'none' leaves them as they are. \
                 NULL when an argument is NULL; elements that are NULL stay so.",
                "calibrate(expected, calibration)",
                "SELECT calibrate([0.0, 10.0], '{\"kind\":\"linear\",\"intercept\":0.5,\"slope\":0.2}') AS expected",
            ),
        }
    }
}

impl ScalarUDFImpl for Calibrate {
    fn name(&self) -> &str {
        "calibrate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(float_list())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let expected = float_lists("calibrate", &args.args[0], args.number_rows)?;
        let fits = strings("calibrate", &args.args[1], args.number_rows)?;
        let none = Calibration::None.name();
        if fits.iter().all(|fit| fit == Some(none)) {
            return Ok(ColumnarValue::Array(Arc::new(expected)));
        }
        let mut lists =
            ListBuilder::new(Float32Builder::new()).with_field(Field::new("element", DataType::Float32, true));
        // Rows of one explanation follow each other: its calibration is parsed once.
        let mut parsed: Option<(&str, FittedCalibration)> = None;
        for (row, fit) in fits.iter().enumerate() {
            let Some(fit) = fit.filter(|_| expected.is_valid(row)) else {
                lists.append(false);
                continue;
            };
            if parsed.as_ref().is_none_or(|(text, _)| *text != fit) {
                parsed = Some((fit, parse(fit)?));
            }
            let values = expected.value(row);
            for value in values.as_primitive::<Float32Type>() {
                let calibrated = |value: f32| match &parsed {
                    Some((_, fitted)) => fitted.apply(f64::from(value)) as f32,
                    None => value,
                };
                lists.values().append_option(value.map(calibrated));
            }
            lists.append(true);
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn parse(text: &str) -> Result<FittedCalibration> {
    if text == Calibration::None.name() {
        return Ok(FittedCalibration::None);
    }
    serde_json::from_str(text).map_err(|error| {
        exec_datafusion_err!(
            "'calibrate': calibration: expected 'none' or what fit_calibration returns, got '{text}': {error}"
        )
    })
}
