//! What the server says of itself: what its SQL can do, and its types.

use std::collections::BTreeMap;

use arrow_flight::error::Result;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
    SqlSupportedGroupBy, SqlSupportedResultSetConcurrency, SqlSupportedResultSetType, SqlSupportedSubqueries,
    SqlSupportedTransaction, SqlSupportedUnions, SqlTransactionIsolationLevel, SupportedSqlGrammar, XdbcDataType,
    XdbcDatetimeSubcode,
};
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;

use crate::server::gate::Gate;
use crate::session::Access;

/// The answers to GetSqlInfo.
///
/// # Errors
/// When they do not fit the protocol's types.
pub(super) fn facts(gate: &Gate) -> Result<SqlInfoData> {
    let mut facts = SqlInfoDataBuilder::new();
    about_the_server(&mut facts, gate);
    about_names(&mut facts, gate);
    about_queries(&mut facts);
    about_limits(&mut facts);
    about_transactions(&mut facts);
    facts.build()
}

fn about_the_server(facts: &mut SqlInfoDataBuilder, gate: &Gate) {
    let write = gate.access() == Access::Full;
    facts.append(SqlInfo::FlightSqlServerName, "neuronlake");
    facts.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    facts.append(SqlInfo::FlightSqlServerArrowVersion, "1.4");
    facts.append(SqlInfo::FlightSqlServerReadOnly, !write);
    facts.append(SqlInfo::FlightSqlServerSql, true);
    facts.append(SqlInfo::FlightSqlServerSubstrait, false);
    facts.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    // A query ends when its reader goes.
    facts.append(SqlInfo::FlightSqlServerCancel, false);
    facts.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    facts.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    facts.append(SqlInfo::SqlDdlCatalog, false);
    facts.append(SqlInfo::SqlDdlSchema, false);
    facts.append(SqlInfo::SqlDdlTable, false);
}

fn about_names(facts: &mut SqlInfoDataBuilder, gate: &Gate) {
    facts.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    facts.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    facts.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    facts.append(SqlInfo::SqlKeywords, ALL_KEYWORDS);
    let mut functions: [Vec<String>; 4] = Default::default();
    for (name, function) in gate.session().context().state().scalar_functions() {
        let section = function.documentation().map_or("", |documentation| documentation.doc_section.label);
        let at = ["Math Functions", "String Functions", "Time and Date Functions"]
            .iter()
            .position(|label| *label == section);
        functions[at.unwrap_or(3)].push(name.clone());
    }
    functions.iter_mut().for_each(|names| names.sort());
    let [numeric, string, datetime, system] = functions;
    facts.append(SqlInfo::SqlNumericFunctions, numeric);
    facts.append(SqlInfo::SqlStringFunctions, string);
    facts.append(SqlInfo::SqlDatetimeFunctions, datetime);
    facts.append(SqlInfo::SqlSystemFunctions, system);
    facts.append(SqlInfo::SqlSearchStringEscape, "\\");
    facts.append(SqlInfo::SqlExtraNameCharacters, "");
    facts.append(SqlInfo::SqlSchemaTerm, "schema");
    facts.append(SqlInfo::SqlProcedureTerm, "function");
    facts.append(SqlInfo::SqlCatalogTerm, "catalog");
    facts.append(SqlInfo::SqlCatalogAtStart, true);
}

fn about_queries(facts: &mut SqlInfoDataBuilder) {
    for (fact, given) in [
        (SqlInfo::SqlAllTablesAreSelectable, true),
        (SqlInfo::SqlSupportsColumnAliasing, true),
        (SqlInfo::SqlNullPlusNullIsNull, true),
        (SqlInfo::SqlSupportsTableCorrelationNames, true),
        (SqlInfo::SqlSupportsDifferentTableCorrelationNames, false),
        (SqlInfo::SqlSupportsExpressionsInOrderBy, true),
        (SqlInfo::SqlSupportsOrderByUnrelated, true),
        (SqlInfo::SqlSupportsLikeEscapeClause, true),
        (SqlInfo::SqlSupportsNonNullableColumns, true),
        (SqlInfo::SqlSupportsIntegrityEnhancementFacility, false),
        (SqlInfo::SqlSelectForUpdateSupported, false),
        (SqlInfo::SqlStoredProceduresSupported, false),
        (SqlInfo::SqlCorrelatedSubqueriesSupported, true),
        (SqlInfo::SqlNamedParametersSupported, false),
        (SqlInfo::SqlLocatorsUpdateCopy, false),
        (SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false),
    ] {
        facts.append(fact, given);
    }
    facts.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedAtEnd as i32);
    // The engine has CAST, and JDBC's CONVERT escape has no pairs of types.
    facts.append(SqlInfo::SqlSupportsConvert, BTreeMap::<i32, Vec<i32>>::new());
    let group_by = [SqlSupportedGroupBy::SqlGroupByUnrelated, SqlSupportedGroupBy::SqlGroupByBeyondSelect];
    facts.append(SqlInfo::SqlSupportedGroupBy, bits(group_by.map(|bit| bit as i32)));
    let grammar = [SupportedSqlGrammar::SqlMinimumGrammar, SupportedSqlGrammar::SqlCoreGrammar];
    facts.append(SqlInfo::SqlSupportedGrammar, bits(grammar.map(|bit| bit as i32)));
    // Entry level.
    facts.append(SqlInfo::SqlAnsi92SupportedLevel, bits([0]));
    facts.append(SqlInfo::SqlOuterJoinsSupportLevel, bits([SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32]));
    facts.append(SqlInfo::SqlSchemasSupportedActions, 0_i32);
    facts.append(SqlInfo::SqlCatalogsSupportedActions, 0_i32);
    facts.append(SqlInfo::SqlSupportedPositionedCommands, 0_i32);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons,
        SqlSupportedSubqueries::SqlSubqueriesInExists,
        SqlSupportedSubqueries::SqlSubqueriesInIns,
    ];
    facts.append(SqlInfo::SqlSupportedSubqueries, bits(subqueries.map(|bit| bit as i32)));
    let unions = [SqlSupportedUnions::SqlUnion, SqlSupportedUnions::SqlUnionAll];
    facts.append(SqlInfo::SqlSupportedUnions, bits(unions.map(|bit| bit as i32)));
}

/// Lengths and numbers have no fixed bound: 0, as the protocol has it.
fn about_limits(facts: &mut SqlInfoDataBuilder) {
    for fact in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxStatements,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
        SqlInfo::SqlMaxUsernameLength,
    ] {
        facts.append(fact, 0_i64);
    }
    facts.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
}

fn about_transactions(facts: &mut SqlInfoDataBuilder) {
    let none = SqlTransactionIsolationLevel::SqlTransactionNone as i32;
    facts.append(SqlInfo::SqlDefaultTransactionIsolation, none);
    facts.append(SqlInfo::SqlTransactionsSupported, false);
    facts.append(SqlInfo::SqlSupportedTransactionsIsolationLevels, bits([none]));
    facts.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    facts.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, true);
    facts.append(SqlInfo::SqlSavepointsSupported, false);
    facts.append(SqlInfo::SqlBatchUpdatesSupported, false);
    let forward = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    facts.append(SqlInfo::SqlSupportedResultSetTypes, bits([forward]));
    let read_only = bits([SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32]);
    facts.append(SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, read_only);
    facts.append(SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, read_only);
    facts.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0_i32);
    facts.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0_i32);
}

fn bits<const N: usize>(numbers: [i32; N]) -> i32 {
    numbers.into_iter().fold(0, |bits, number| bits | 1 << number)
}

/// The answers to GetXdbcTypeInfo: the types that the lake's tables have.
///
/// # Errors
/// When they do not fit the protocol's types.
pub(super) fn types() -> Result<XdbcTypeInfoData> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    let quoted = Some("'".to_owned());
    for (name, of, size) in [
        ("BOOLEAN", XdbcDataType::XdbcBit, 1),
        ("INT", XdbcDataType::XdbcInteger, 32),
        ("BIGINT", XdbcDataType::XdbcBigint, 64),
        ("FLOAT", XdbcDataType::XdbcReal, 24),
        ("DOUBLE", XdbcDataType::XdbcDouble, 53),
        ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 26),
    ] {
        let (text, time) = (of == XdbcDataType::XdbcVarchar, of == XdbcDataType::XdbcTimestamp);
        let number = !text && !time && of != XdbcDataType::XdbcBit;
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type: of,
            column_size: Some(size),
            literal_prefix: quoted.clone().filter(|_| text || time),
            literal_suffix: quoted.clone().filter(|_| text || time),
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: text,
            searchable: if text { Searchable::Full } else { Searchable::Basic },
            unsigned_attribute: number.then_some(false),
            fixed_prec_scale: false,
            auto_increment: number.then_some(false),
            local_type_name: Some(name.to_owned()),
            minimum_scale: None,
            maximum_scale: time.then_some(6),
            sql_data_type: if time { XdbcDataType::XdbcDatetime } else { of },
            datetime_subcode: time.then_some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            num_prec_radix: number.then_some(2),
            interval_precision: None,
        });
    }
    types.build()
}
