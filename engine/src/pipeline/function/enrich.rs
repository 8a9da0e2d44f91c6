//! Joining records with rules that every subtask knows.

use crate::{
    backend::StateRegistry,
    error::{Error, ErrorKind, Result},
    operator::{BroadcastContext, BroadcastState, BroadcastStates, KeyedBroadcastProcessFunction, ReadOnlyContext},
    pipeline::{
        expression::Expression,
        model::Unmatched,
        plan::PlannedEnrich,
        row::{Datum, Row},
    },
};

/// Keeps the latest rule of each key, and joins records with the rule of theirs.
#[derive(Clone)]
pub(crate) struct Enrich {
    stage: String,
    rule_key: Vec<usize>,
    rule_width: usize,
    unmatched: Unmatched,
    fields: Vec<Expression>,
    rules: Option<BroadcastState<Row, Row>>,
}

impl Enrich {
    pub(crate) fn new(stage: &str, planned: &PlannedEnrich) -> Self {
        Self {
            stage: stage.to_owned(),
            rule_key: planned.rule_key.clone(),
            rule_width: planned.rule_schema.fields.len(),
            unmatched: planned.declared.unmatched,
            fields: planned.fields.clone(),
            rules: None,
        }
    }
}

const OPENED: &str = "a function is opened before anything else";

impl KeyedBroadcastProcessFunction for Enrich {
    type Key = Row;
    type In = Row;
    type Broadcast = Row;
    type Out = Row;

    fn open(&mut self, _keyed: &mut StateRegistry<'_, Row>, broadcast: &mut BroadcastStates) -> Result<()> {
        self.rules = Some(broadcast.register("rules")?);
        Ok(())
    }

    fn process_element(&mut self, row: Row, context: &mut ReadOnlyContext<'_, Row, Row>) -> Result<()> {
        let rule = self.rules.expect(OPENED).get(context, context.key()).cloned();
        let rule = match (rule, self.unmatched) {
            (Some(rule), _) => rule,
            (None, Unmatched::Keep) => Row::new(vec![Datum::Null; self.rule_width]),
            (None, Unmatched::Drop) => return Ok(()),
        };
        let pair: Row = row.values().iter().chain(rule.values()).cloned().collect();
        let joined = self.fields.iter().map(|field| field.evaluate(&pair)).collect::<Result<Row, _>>();
        context.collect(joined.map_err(|error| {
            Error::new(ErrorKind::UserFunction, format!("stage `{}` failed", self.stage)).with_source(error)
        })?);
        Ok(())
    }

    fn process_broadcast_element(&mut self, rule: Row, context: &mut BroadcastContext<'_, Row, Row>) -> Result<()> {
        let key = rule.project(&self.rule_key);
        self.rules.expect(OPENED).put(context, key, rule);
        Ok(())
    }
}
