//! Walks over the references in specs, so that they can be replaced by what they stand for. Pure.

use crate::stack::{
    Action, IpPermission, ListenerRuleSpec, ListenerSpec, LoadBalancerSpec, SecurityGroupSpec, Target, Token,
};

/// Something that holds tokens.
pub trait Tokens: Clone {
    /// Shows each token.
    fn each(&mut self, f: &mut dyn FnMut(&mut Token));

    /// The same with every token that `known` knows replaced.
    #[must_use]
    fn resolved(&self, known: &dyn Fn(&Token) -> Option<String>) -> Self {
        let mut copy = self.clone();
        copy.each(&mut |token| {
            if let Some(value) = known(token) {
                *token = Token::literal(value);
            }
        });
        copy
    }

    /// The first reference that is left.
    fn unresolved(&self) -> Option<Token> {
        let mut found = None;
        self.clone().each(&mut |token| {
            if matches!(token, Token::Ref { .. }) && found.is_none() {
                found = Some(token.clone());
            }
        });
        found
    }
}

impl Tokens for Token {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        f(self);
    }
}

impl Tokens for Target {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        f(&mut self.id);
    }
}

impl Tokens for Action {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        if let Self::Forward(forward) = self {
            forward.target_groups.iter_mut().for_each(|group| f(&mut group.target_group_arn));
        }
    }
}

impl<T: Tokens> Tokens for Vec<T> {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        self.iter_mut().for_each(|item| item.each(f));
    }
}

impl Tokens for IpPermission {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        self.group_pairs.iter_mut().for_each(|pair| f(&mut pair.group_id));
    }
}

impl Tokens for SecurityGroupSpec {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        self.ingress.each(f);
    }
}

impl Tokens for LoadBalancerSpec {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        self.security_groups.each(f);
    }
}

impl Tokens for ListenerSpec {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        f(&mut self.load_balancer_arn);
        self.default_actions.each(f);
    }
}

impl Tokens for ListenerRuleSpec {
    fn each(&mut self, f: &mut dyn FnMut(&mut Token)) {
        f(&mut self.listener_arn);
        self.actions.each(f);
    }
}

/// The value of a token that is known.
#[must_use]
pub fn literal(token: &Token) -> &str {
    match token {
        Token::Literal(value) => value,
        Token::Ref { .. } => "",
    }
}
