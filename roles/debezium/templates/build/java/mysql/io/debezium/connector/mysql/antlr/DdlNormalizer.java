package io.debezium.connector.mysql.antlr;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Pattern;

import org.antlr.v4.runtime.BaseErrorListener;
import org.antlr.v4.runtime.CharStreams;
import org.antlr.v4.runtime.CommonTokenStream;
import org.antlr.v4.runtime.RecognitionException;
import org.antlr.v4.runtime.Recognizer;
import org.antlr.v4.runtime.Token;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

import io.debezium.ddl.parser.mysql.generated.MySqlLexer;
import io.debezium.ddl.parser.mysql.generated.MySqlParser;

/**
 * Prepares a statement of MySQL's binlog for Debezium's parser, in place of the class of that name in Debezium 3.6.
 *
 * A statement in the binlog was accepted by MySQL. Where Debezium's grammar refuses it or would apply it wrongly, this
 * rewrites it, so that no statement ends the capture of all tables:
 * - double-quoted strings become single-quoted ones, as the grammar knows no others (Debezium's own class does that);
 * - the prefix of `X'41'` and `B'01'` is written small, as the grammar knows no other;
 * - a word that the grammar takes for a keyword is quoted (`url` in 3.6.1; the next release quotes such words, too);
 * - if that does not help, expressions are left out, of which the connector needs none;
 * - columns that exchange names (`RENAME COLUMN a TO b, RENAME COLUMN b TO a`) do so by way of temporary names;
 * - an ALTER TABLE that cannot be parsed sets its table aside: it is renamed in the connector's eyes, which then skips its
 *   rows with a warning until a new snapshot reads its definition. The sink reads the mark in `debezium`'s DDL events.
 */
public class DdlNormalizer {

    /** Begins the name under which a table is set aside; cdc_workstation.sink.mysql_ddl looks for it. */
    public static final String SET_ASIDE = "#unparsed#";

    private static final Logger LOGGER = LoggerFactory.getLogger(DdlNormalizer.class);
    private static final Pattern SHOWN = Pattern.compile("CREATE TABLE (?=`(?:``|[^`])*` \\(\n)");
    private static final AtomicLong SHOWN_TIMES = new AtomicLong();
    private static final int MOST_QUOTED_WORDS = 50;
    private static final int LONGEST_TABLE_NAME = 64;

    public static String normalize(String ddl) {
        return normalize(ddl, false);
    }

    public static String normalize(String ddl, boolean ansiQuotes) {
        if (ddl == null || ddl.isEmpty()) {
            return ddl;
        }
        // The connector keeps the definitions that its snapshots read as a set of texts, and applies all of a table's in the
        // order in which they came first: of one that is back, an older one would win. The number makes each text new.
        boolean shown = SHOWN.matcher(ddl).lookingAt();
        String definition = shown ? SHOWN.matcher(ddl).replaceFirst("CREATE TABLE /* " + SHOWN_TIMES.incrementAndGet() + " */ ") : ddl;
        String text = withSmallPrefixes(ansiQuotes ? definition : withSingleQuotes(definition));
        try {
            String quoted = withQuotedKeywords(text);
            if (quoted == null) {
                quoted = withQuotedKeywords(withoutExpressions(text));
            }
            if (quoted != null) {
                return withoutNameSwaps(quoted);
            }
            String aside = setAside(text);
            if (aside != null) {
                LOGGER.error("Debezium cannot parse this statement; its table is not captured until its next snapshot: {}", ddl);
                return aside;
            }
        }
        catch (RuntimeException e) {
            LOGGER.error("A statement could not be prepared for the parser and is passed on as it is: {}", ddl, e);
        }
        return text;
    }

    /** The statement that makes the connector skip a table's rows until its next snapshot. */
    public static String setAside(String database, String table) {
        String aside = SET_ASIDE + table;
        if (aside.length() > LONGEST_TABLE_NAME) {
            aside = aside.substring(0, LONGEST_TABLE_NAME);
        }
        String qualifier = database == null ? "" : quoted(database) + ".";
        return "RENAME TABLE " + qualifier + quoted(table) + " TO " + qualifier + quoted(aside);
    }

    /** Returns RENAME TABLE and ALTER TABLE with a database before each table's name: an event names one database only. */
    public static String qualified(String ddl, String database) {
        List<Token> tokens = tokens(ddl);
        if (database == null || database.isEmpty() || tokens.size() < 3 || tokens.get(1).getType() != MySqlLexer.TABLE_SYMBOL) {
            return ddl;
        }
        boolean renames = tokens.get(0).getType() == MySqlLexer.RENAME_SYMBOL;
        if (!renames && tokens.get(0).getType() != MySqlLexer.ALTER_SYMBOL) {
            return ddl;
        }
        List<Integer> names = new ArrayList<>(List.of(2));
        int depth = 0;
        for (int i = 3; i + 1 < tokens.size(); i++) {
            int type = tokens.get(i).getType();
            depth += type == MySqlLexer.OPEN_PAR_SYMBOL ? 1 : type == MySqlLexer.CLOSE_PAR_SYMBOL ? -1 : 0;
            if (renames && (type == MySqlLexer.COMMA_SYMBOL || type == MySqlLexer.TO_SYMBOL)) {
                names.add(i + 1);
            }
            else if (!renames && depth == 0 && type == MySqlLexer.RENAME_SYMBOL) {
                int next = tokens.get(i + 1).getType();
                boolean named = next == MySqlLexer.TO_SYMBOL || next == MySqlLexer.AS_SYMBOL || next == MySqlLexer.EQUAL_OPERATOR;
                if (next != MySqlLexer.COLUMN_SYMBOL && next != MySqlLexer.INDEX_SYMBOL && next != MySqlLexer.KEY_SYMBOL) {
                    names.add(named ? i + 2 : i + 1);
                }
            }
        }
        StringBuilder result = new StringBuilder(ddl);
        for (int i = names.size() - 1; i >= 0; i--) {
            int at = names.get(i);
            boolean has = at >= tokens.size() || at + 1 < tokens.size() && tokens.get(at + 1).getType() == MySqlLexer.DOT_SYMBOL;
            if (!has) {
                result.insert(ddl.offsetByCodePoints(0, tokens.get(at).getStartIndex()), quoted(database) + ".");
            }
        }
        return result.toString();
    }

    private static String quoted(String name) {
        return "`" + name.replace("`", "``") + "`";
    }

    private static String withSingleQuotes(String ddl) {
        if (ddl.indexOf('"') < 0) {
            return ddl;
        }
        StringBuilder result = new StringBuilder(ddl);
        List<Token> tokens = tokens(ddl);
        for (int i = tokens.size() - 1; i >= 0; i--) {
            Token token = tokens.get(i);
            if (token.getType() == MySqlLexer.DOUBLE_QUOTED_TEXT) {
                String inner = at(ddl, token, 1, -1).replace("\"\"", "\"").replace("'", "''");
                replace(result, ddl, token, "'" + inner + "'");
            }
        }
        return result.toString();
    }

    private static String withSmallPrefixes(String ddl) {
        if (!ddl.contains("X'") && !ddl.contains("B'")) {
            return ddl;
        }
        StringBuilder result = new StringBuilder(ddl);
        List<Token> tokens = tokens(ddl);
        for (int i = 0; i + 1 < tokens.size(); i++) {
            Token prefix = tokens.get(i);
            String word = at(ddl, prefix, 0, 0);
            boolean joined = tokens.get(i + 1).getStartIndex() == prefix.getStopIndex() + 1 && at(ddl, tokens.get(i + 1), 0, 0).startsWith("'");
            if (joined && (word.equals("X") || word.equals("B"))) {
                replace(result, ddl, prefix, word.toLowerCase());
            }
        }
        return result.toString();
    }

    /** Returns the statement with the words quoted that stop the parser, or null if it cannot be parsed all the same. */
    private static String withQuotedKeywords(String ddl) {
        String text = ddl;
        for (int i = 0; i < MOST_QUOTED_WORDS; i++) {
            Token[] refused = new Token[1];
            List<Token> tokens = parse(text, refused);
            if (refused[0] == null) {
                return text;
            }
            String better = null;
            // The parser may have taken the word for a keyword and stumbles over what follows it.
            for (int back = 0; back <= 1 && better == null; back++) {
                int index = tokens.indexOf(refused[0]) - back;
                if (index < 0) {
                    break;
                }
                Token word = tokens.get(index);
                if (word.getType() == Token.EOF || !at(text, word, 0, 0).matches("[A-Za-z_][A-Za-z0-9_$]*")) {
                    continue;
                }
                StringBuilder attempt = new StringBuilder(text);
                replace(attempt, text, word, "`" + at(text, word, 0, 0) + "`");
                Token[] next = new Token[1];
                parse(attempt.toString(), next);
                if (next[0] == null || next[0].getStartIndex() > refused[0].getStartIndex() + 2) {
                    better = attempt.toString();
                }
            }
            if (better == null) {
                return null;
            }
            text = better;
        }
        return null;
    }

    /** Returns CREATE TABLE or ALTER TABLE with the expressions of checks, defaults, generated columns and keys left out. */
    private static String withoutExpressions(String ddl) {
        List<Token> tokens = tokens(ddl);
        StringBuilder result = new StringBuilder();
        int copied = 0;
        for (int i = 3; i + 1 < tokens.size(); i++) {
            int type = tokens.get(i).getType();
            boolean begins = type == MySqlLexer.CHECK_SYMBOL || type == MySqlLexer.AS_SYMBOL || type == MySqlLexer.DEFAULT_SYMBOL
                    || type == MySqlLexer.OPEN_PAR_SYMBOL;
            if (!begins || tokens.get(i + 1).getType() != MySqlLexer.OPEN_PAR_SYMBOL) {
                continue;
            }
            int depth = 0;
            int end = i;
            do {
                end++;
                int one = tokens.get(end).getType();
                depth += one == MySqlLexer.OPEN_PAR_SYMBOL ? 1 : one == MySqlLexer.CLOSE_PAR_SYMBOL ? -1 : 0;
            } while (depth > 0 && end + 1 < tokens.size());
            result.append(ddl, copied, ddl.offsetByCodePoints(0, tokens.get(i + 1).getStartIndex())).append("(1)");
            copied = ddl.offsetByCodePoints(0, tokens.get(end).getStopIndex() + 1);
            i = end;
        }
        return result.append(ddl.substring(copied)).toString();
    }

    private static String withoutNameSwaps(String ddl) {
        List<Token> tokens = tokens(ddl);
        if (tokens.size() < 2 || tokens.get(0).getType() != MySqlLexer.ALTER_SYMBOL || tokens.get(1).getType() != MySqlLexer.TABLE_SYMBOL) {
            return ddl;
        }
        Map<Integer, Token> targets = new HashMap<>();
        Set<String> oldNames = new HashSet<>();
        int depth = 0;
        boolean begins = false;
        for (int i = 2; i < tokens.size(); i++) {
            int type = tokens.get(i).getType();
            if (type == MySqlLexer.OPEN_PAR_SYMBOL) {
                depth++;
            }
            else if (type == MySqlLexer.CLOSE_PAR_SYMBOL) {
                depth--;
            }
            else if (depth == 0 && (type == MySqlLexer.RENAME_SYMBOL || type == MySqlLexer.CHANGE_SYMBOL) && i + 2 < tokens.size()) {
                int at = i + 1;
                if (tokens.get(at).getType() == MySqlLexer.COLUMN_SYMBOL) {
                    at++;
                }
                else if (type == MySqlLexer.RENAME_SYMBOL) {
                    continue;
                }
                int target = type == MySqlLexer.RENAME_SYMBOL ? at + 2 : at + 1;
                if (target < tokens.size()) {
                    oldNames.add(name(ddl, tokens.get(at)));
                    if (!name(ddl, tokens.get(at)).equals(name(ddl, tokens.get(target)))) {
                        targets.put(target, tokens.get(target));
                    }
                }
            }
        }
        List<Integer> places = new ArrayList<>(targets.keySet());
        places.removeIf(place -> !oldNames.contains(name(ddl, targets.get(place))));
        if (places.isEmpty()) {
            return ddl;
        }
        places.sort((a, b) -> b - a);
        StringBuilder result = new StringBuilder(ddl);
        StringBuilder last = new StringBuilder();
        for (int place : places) {
            Token target = targets.get(place);
            String temporary = "`#swap#" + place + "`";
            replace(result, ddl, target, temporary);
            last.append(", RENAME COLUMN ").append(temporary).append(" TO ").append(at(ddl, target, 0, 0));
        }
        String swapped = result.append(last).toString();
        Token[] refused = new Token[1];
        parse(swapped, refused);
        return refused[0] == null ? swapped : ddl;
    }

    /** Returns what sets the altered table aside, or null if the statement is no ALTER TABLE. */
    private static String setAside(String ddl) {
        List<Token> tokens = tokens(ddl);
        if (tokens.size() < 3 || tokens.get(0).getType() != MySqlLexer.ALTER_SYMBOL || tokens.get(1).getType() != MySqlLexer.TABLE_SYMBOL) {
            return null;
        }
        String first = bare(at(ddl, tokens.get(2), 0, 0));
        if (tokens.size() > 4 && tokens.get(3).getType() == MySqlLexer.DOT_SYMBOL) {
            return setAside(first, bare(at(ddl, tokens.get(4), 0, 0)));
        }
        return setAside(null, first);
    }

    private static String name(String ddl, Token token) {
        return bare(at(ddl, token, 0, 0)).toLowerCase();
    }

    private static String bare(String name) {
        if (name.length() > 1 && (name.startsWith("`") || name.startsWith("\""))) {
            return name.substring(1, name.length() - 1).replace("``", "`");
        }
        return name;
    }

    private static List<Token> parse(String ddl, Token[] refused) {
        CommonTokenStream stream = new CommonTokenStream(lexer(ddl));
        MySqlParser parser = new MySqlParser(stream);
        parser.removeErrorListeners();
        parser.addErrorListener(new BaseErrorListener() {
            @Override
            public void syntaxError(Recognizer<?, ?> recognizer, Object symbol, int line, int column, String message, RecognitionException e) {
                if (refused[0] == null && symbol instanceof Token) {
                    refused[0] = (Token) symbol;
                }
            }
        });
        parser.queries();
        List<Token> visible = new ArrayList<>();
        for (Token token : stream.getTokens()) {
            if (token.getChannel() == Token.DEFAULT_CHANNEL) {
                visible.add(token);
            }
        }
        return visible;
    }

    private static List<Token> tokens(String ddl) {
        List<Token> visible = new ArrayList<>();
        for (Token token : lexer(ddl).getAllTokens()) {
            if (token.getChannel() == Token.DEFAULT_CHANNEL) {
                visible.add(token);
            }
        }
        return visible;
    }

    private static MySqlLexer lexer(String ddl) {
        MySqlLexer lexer = new MySqlLexer(CharStreams.fromString(ddl));
        lexer.removeErrorListeners();
        return lexer;
    }

    // ANTLR counts code points, Java's strings count UTF-16 units.
    private static String at(String ddl, Token token, int from, int to) {
        return ddl.substring(ddl.offsetByCodePoints(0, token.getStartIndex() + from), ddl.offsetByCodePoints(0, token.getStopIndex() + 1 + to));
    }

    private static void replace(StringBuilder text, String ddl, Token token, String replacement) {
        text.replace(ddl.offsetByCodePoints(0, token.getStartIndex()), ddl.offsetByCodePoints(0, token.getStopIndex() + 1), replacement);
    }
}
