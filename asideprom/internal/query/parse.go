package query

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// An Expr is an expression that can be evaluated.
type Expr interface {
	// eval returns the results at a time. interval stands for $__rate_interval.
	eval(s *Store, at time.Time, interval time.Duration) []Result
}

// A Result is one value of an expression.
type Result struct {
	Labels Labels
	Value  float64
}

// Parse reads an expression.
func Parse(text string) (Expr, error) {
	p := &parser{tokens: tokenIn.FindAllString(text, -1)}
	if strings.Join(p.tokens, "") != strings.ReplaceAll(text, " ", "") && !strings.Contains(text, `"`) {
		return nil, fmt.Errorf("%q has a character that is not understood", text)
	}
	e, err := p.expr()
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("%q is left over", strings.Join(p.tokens[p.at:], " "))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return e, nil
}

var tokenIn = regexp.MustCompile(`"[^"]*"|\$?[A-Za-z_][A-Za-z0-9_]*|[0-9.]+[a-z]*|=~|!~|!=|==|[-(){}\[\],/=<>]`)

type parser struct {
	tokens []string
	at     int
}

func (p *parser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

func (p *parser) next() string {
	token := p.peek()
	p.at++
	return token
}

func (p *parser) skip(token string) error {
	if got := p.next(); got != token {
		return fmt.Errorf("%q where %q should be", got, token)
	}
	return nil
}

// expr reads terms with operators between them, from the left to the right: the dashboard needs no precedence.
func (p *parser) expr() (Expr, error) {
	left, err := p.term()
	for err == nil && strings.Contains("/ > ==", p.peek()) && p.peek() != "" {
		op := p.next()
		var right Expr
		right, err = p.term()
		left = binary{op, left, right}
	}
	return left, err
}

func (p *parser) term() (Expr, error) {
	switch token := p.next(); {
	case token == "sum" || token == "min":
		return p.aggregate(token)
	case token == "rate" || token == "increase":
		return p.ranged(token)
	case token == "histogram_quantile":
		return p.quantile()
	case token != "" && strings.ContainsAny(token[:1], "0123456789"):
		n, err := strconv.ParseFloat(token, 64)
		return number(n), err
	case strings.HasPrefix(token, "aside_"):
		return p.selector(token)
	default:
		return nil, fmt.Errorf("%q is no beginning of an expression", token)
	}
}

func (p *parser) inParentheses(read func() error) error {
	if err := p.skip("("); err != nil {
		return err
	}
	if err := read(); err != nil {
		return err
	}
	return p.skip(")")
}

func (p *parser) aggregate(op string) (Expr, error) {
	a := aggregate{op: op}
	if p.peek() == "by" {
		p.next()
		err := p.inParentheses(func() error {
			for a.by = []string{p.next()}; p.peek() == ","; a.by = append(a.by, p.next()) {
				p.next()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	err := p.inParentheses(func() (err error) { a.of, err = p.expr(); return err })
	return a, err
}

func (p *parser) ranged(op string) (Expr, error) {
	r := ranged{op: op}
	err := p.inParentheses(func() (err error) {
		if r.of, err = p.selector(p.next()); err != nil {
			return err
		}
		if err = p.skip("["); err != nil {
			return err
		}
		if r.over, err = duration(p.next()); err != nil {
			return err
		}
		return p.skip("]")
	})
	return r, err
}

// duration is 0 for $__rate_interval.
func duration(token string) (time.Duration, error) {
	if token == "$__rate_interval" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(token, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(token)
}

func (p *parser) quantile() (Expr, error) {
	var q quantile
	err := p.inParentheses(func() (err error) {
		if q.q, err = strconv.ParseFloat(p.next(), 64); err != nil {
			return err
		}
		if err = p.skip(","); err != nil {
			return err
		}
		q.of, err = p.expr()
		return err
	})
	return q, err
}

func (p *parser) selector(name string) (selector, error) {
	s := selector{name: name}
	if p.peek() != "{" {
		return s, nil
	}
	for p.next(); p.peek() != "}"; {
		label, op, text := p.next(), p.next(), strings.Trim(p.next(), `"`)
		if text == "$cache" {
			text = ".*"
		}
		pattern := "^(?:" + regexp.QuoteMeta(text) + ")$"
		if op == "=~" || op == "!~" {
			pattern = "^(?:" + text + ")$"
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return s, err
		}
		s.matchers = append(s.matchers, matcher{label, strings.HasPrefix(op, "!"), re})
		if p.peek() == "," {
			p.next()
		} else if p.peek() != "}" {
			return s, fmt.Errorf("%q inside a selector", p.peek())
		}
	}
	return s, p.skip("}")
}
