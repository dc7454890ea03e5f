import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Replaces text in the string constants of a class file: `java StringConstants.java FILE TEXT REPLACEMENT`. It fails if no
 * constant has the text. The format: https://docs.oracle.com/javase/specs/jvms/se21/html/jvms-4.html#jvms-4.4
 */
final class StringConstants {

    private static final int UTF8 = 1;

    public static void main(String[] arguments) throws IOException {
        Path file = Path.of(arguments[0]);
        ByteArrayInputStream bytes = new ByteArrayInputStream(Files.readAllBytes(file));
        DataInputStream in = new DataInputStream(bytes);
        ByteArrayOutputStream changed = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(changed);
        out.writeLong(in.readLong());
        int constants = in.readUnsignedShort();
        out.writeShort(constants);
        int found = 0;
        for (int number = 1; number < constants; number++) {
            int tag = in.readUnsignedByte();
            out.writeByte(tag);
            if (tag == UTF8) {
                String text = in.readUTF();
                found += text.contains(arguments[1]) ? 1 : 0;
                out.writeUTF(text.replace(arguments[1], arguments[2]));
                continue;
            }
            out.write(in.readNBytes(length(tag)));
            if (tag == 5 || tag == 6) {
                // A long or a double counts twice.
                number++;
            }
        }
        in.transferTo(out);
        if (found == 0) {
            throw new IOException(file + " has no constant with the text: " + arguments[1]);
        }
        Files.write(file, changed.toByteArray());
    }

    private static int length(int tag) {
        return switch (tag) {
            case 3, 4, 9, 10, 11, 12, 17, 18 -> 4;
            case 5, 6 -> 8;
            case 7, 8, 16, 19, 20 -> 2;
            case 15 -> 3;
            default -> throw new IllegalArgumentException("no such constant: " + tag);
        };
    }
}
