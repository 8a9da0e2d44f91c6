//! The attribute `#[tidegate_sim::test]`: from a body that runs one job to an ordinary test over many seeds.
//!
//! It only translates; what happens at run time is `tidegate_sim::testing`. Its errors point at the code that they are
//! about and say what is expected there.

use proc_macro::TokenStream;
use quote::quote;
use syn::{
    Error, Expr, ExprLit, FnArg, ItemFn, Lit, MetaNameValue, Result, Token, Type, parse::Parser as _,
    punctuated::Punctuated, spanned::Spanned as _,
};

/// Runs the body once per seed without faults and once with faults that the seed draws; both must show the same.
///
/// Options, all of them whole numbers of at least 1: `seeds` (100), `faults` (most in a run: 2), `task_managers` (2).
/// The body takes `&mut tidegate_sim::testing::Simulation` and returns nothing, or a `Result<(), E>` whose `E` has
/// `Debug`. See `tidegate_sim::testing` for what the body does.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(arguments.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(arguments: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> Result<proc_macro2::TokenStream> {
    let options = options(arguments)?;
    let function: ItemFn = syn::parse2(item)?;
    check_signature(&function)?;
    let ItemFn { attrs, vis, sig, block } = function;
    let (name, inputs, output) = (&sig.ident, &sig.inputs, &sig.output);
    let setters = options.iter().map(|Setting { setter, value }| quote!(.#setter(#value)));
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() {
            fn body(#inputs) #output #block
            let options = ::tidegate_sim::testing::Options::new(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
            )#(#setters)*;
            ::tidegate_sim::testing::check(&options, body);
        }
    })
}

struct Setting {
    setter: syn::Ident,
    value: syn::LitInt,
}

const KNOWN: [&str; 3] = ["seeds", "faults", "task_managers"];

fn options(arguments: proc_macro2::TokenStream) -> Result<Vec<Setting>> {
    let list = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(arguments).map_err(|error| {
        Error::new(error.span(), "expected options of the form `name = number`, such as `seeds = 200, faults = 2`")
    })?;
    let mut settings: Vec<Setting> = Vec::new();
    for option in list {
        let name = option.path.get_ident().map(ToString::to_string).unwrap_or_default();
        if !KNOWN.contains(&name.as_str()) {
            let message = format!("there is no option `{name}`; known are `{}`", KNOWN.join("`, `"));
            return Err(Error::new(option.path.span(), message));
        }
        let setter = syn::Ident::new(&format!("with_{name}"), option.path.span());
        if settings.iter().any(|setting| setting.setter == setter) {
            return Err(Error::new(option.path.span(), format!("the option `{name}` is given twice")));
        }
        settings.push(Setting { setter, value: whole_number(&name, &option.value)? });
    }
    Ok(settings)
}

fn whole_number(name: &str, value: &Expr) -> Result<syn::LitInt> {
    let problem = || Error::new(value.span(), format!("`{name}` is a whole number from 1 to {}", u32::MAX));
    let Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) = value else { return Err(problem()) };
    match number.base10_parse::<u32>() {
        Ok(1..) => Ok(number.clone()),
        Ok(0) | Err(_) => Err(problem()),
    }
}

fn check_signature(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new(
            asyncness.span(),
            "a simulated test is not `async`: `Simulation::run` runs the job to its end and returns",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "a test has no generic parameters"));
    }
    let mut inputs = signature.inputs.iter();
    let takes_simulation = match (inputs.next(), inputs.next()) {
        (Some(FnArg::Typed(input)), None) => {
            matches!(&*input.ty, Type::Reference(reference) if reference.mutability.is_some())
        }
        (Some(FnArg::Receiver(_)) | None, _) | (_, Some(_)) => false,
    };
    if takes_simulation {
        return Ok(());
    }
    let expected = format!("expected `fn {}(sim: &mut tidegate_sim::testing::Simulation)`", signature.ident);
    Err(Error::new(signature.paren_token.span.join(), expected))
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn error(arguments: &str, item: &str) -> String {
        let parsed = (arguments.parse().expect("tokens"), item.parse().expect("tokens"));
        expand(parsed.0, parsed.1).expect_err("the macro refuses it").to_string()
    }

    const BODY: &str = "fn bank(sim: &mut Simulation) {}";

    #[test]
    fn options_and_signature_that_are_right_expand() {
        for arguments in ["", "seeds = 200", "seeds = 200, faults = 1, task_managers = 3,"] {
            let expanded = expand(arguments.parse().expect("tokens"), BODY.parse().expect("tokens"));
            assert!(expanded.is_ok(), "{arguments}: {expanded:?}");
        }
    }

    #[test]
    fn an_unknown_option_is_named_with_those_that_there_are() {
        assert_eq!(error("seed = 7", BODY), "there is no option `seed`; known are `seeds`, `faults`, `task_managers`");
    }

    #[test]
    fn an_option_is_a_positive_number_and_given_once() {
        assert_eq!(error("faults = 0", BODY), "`faults` is a whole number from 1 to 4294967295");
        assert_eq!(error("faults = \"two\"", BODY), "`faults` is a whole number from 1 to 4294967295");
        assert_eq!(error("faults = 1, faults = 2", BODY), "the option `faults` is given twice");
        assert_eq!(
            error("200", BODY),
            "expected options of the form `name = number`, such as `seeds = 200, faults = 2`"
        );
    }

    #[test]
    fn a_wrong_signature_is_answered_with_the_right_one() {
        let expected = "expected `fn bank(sim: &mut tidegate_sim::testing::Simulation)`";
        for item in
            ["fn bank() {}", "fn bank(sim: Simulation) {}", "fn bank(sim: &Simulation) {}", "fn bank(&mut self) {}"]
        {
            assert_eq!(error("", item), expected, "{item}");
        }
        assert_eq!(error("", "fn bank<T>(sim: &mut T) {}"), "a test has no generic parameters");
        assert!(error("", "async fn bank(sim: &mut Simulation) {}").starts_with("a simulated test is not `async`"));
    }
}
